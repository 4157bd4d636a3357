// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/dpdk/eal.h"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <optional>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "weft/core/cpu.h"
#include "weft/transports/dpdk/log_buffer.h"
#include "weft/transports/dpdk/machine.h"

namespace weft::dpdk {
namespace {

// Ordinary memory cannot grow after the start, but costs only what is touched.
constexpr uint32_t kOrdinaryMemoryMbMin = 2048;

// What EAL was started with.
struct Running {
  config::Dpdk config;
  bool huge_pages;
  bool pci;
  uint32_t memory_mb;
};
std::optional<Running>& TheRunning() {
  static std::optional<Running> running;
  return running;
}

absl::Status Differs(absl::string_view field, absl::string_view have, absl::string_view want) {
  return absl::FailedPreconditionError(
      absl::StrCat("EAL runs with ", field, " ", have,
                   " since the first transport of this process was opened, and "
                   "cannot be started again with ",
                   want, ": give both transports the same settings"));
}

absl::Status CheckAgrees(const Running& running, const config::Dpdk& config, bool pci) {
  if (config.huge_pages() == config::Dpdk::REQUIRED && !running.huge_pages) {
    return Differs("huge_pages", "NEVER", "REQUIRED");
  }
  if (config.huge_pages() == config::Dpdk::NEVER && running.huge_pages) {
    return Differs("huge_pages", "REQUIRED", "NEVER");
  }
  if (config.memory_mb() != 0 && config.memory_mb() != running.memory_mb) {
    return Differs("memory_mb", absl::StrCat(running.memory_mb), absl::StrCat(config.memory_mb()));
  }
  if (config.has_main_core() && config.main_core() != running.config.main_core()) {
    return Differs("main_core", absl::StrCat("'", running.config.main_core(), "'"),
                   absl::StrCat("'", config.main_core(), "'"));
  }
  const auto& args = config.eal_args();
  const auto& had = running.config.eal_args();
  if (!args.empty() && !std::equal(args.begin(), args.end(), had.begin(), had.end())) {
    return Differs("eal_args", absl::StrCat("'", absl::StrJoin(had, " "), "'"),
                   absl::StrCat("'", absl::StrJoin(args, " "), "'"));
  }
  if (pci && !running.pci) return Differs("pci_devices", "none", "some");
  return absl::OkStatus();
}

absl::StatusOr<int> MainCore(const config::Dpdk& config) {
  const std::vector<int> allowed = AllowedCores();
  if (config.main_core().empty()) return allowed.empty() ? 0 : allowed.front();
  const absl::StatusOr<std::vector<int>> cores = ParseCoreList(config.main_core());
  if (!cores.ok()) return cores.status();
  if (std::find(allowed.begin(), allowed.end(), cores->front()) == allowed.end()) {
    return absl::InvalidArgumentError(absl::StrCat("main_core: this process may not use core ",
                                                   cores->front(), "; it may use ",
                                                   absl::StrJoin(allowed, ",")));
  }
  return cores->front();
}

absl::StatusOr<bool> ChooseHugePages(const config::Dpdk& config, bool pci, uint32_t memory_mb) {
  if (config.huge_pages() == config::Dpdk::NEVER) {
    if (!pci) return false;
    return absl::InvalidArgumentError(
        "physical devices need huge pages: set huge_pages to AUTO or REQUIRED");
  }
  const HugePages machine = FindHugePages();
  if (machine.free_mb >= memory_mb) return true;
  if (config.huge_pages() == config::Dpdk::AUTO && !pci) return false;
  const uint64_t pages = (memory_mb * uint64_t{1024} + machine.page_kb - 1) / machine.page_kb;
  return absl::FailedPreconditionError(
      absl::StrCat("transport 'dpdk' needs ", memory_mb, " MB of huge pages and this machine has ",
                   machine.free_mb, " MB free: reserve them with `sysctl vm.nr_hugepages=", pages,
                   "`", pci ? "" : ", or let it use ordinary memory with `huge_pages: AUTO`"));
}

std::vector<std::string> Arguments(const config::Dpdk& config, const Running& running, int core,
                                   const std::vector<std::string>& pci_devices) {
  // One lcore, or EAL would start a thread for each core there is.
  std::vector<std::string> args = {"weft", absl::StrCat("--lcores=0@", core), "--no-telemetry"};
  if (running.huge_pages) {
    // Nothing is left behind in a file system, and vhost peers get few file descriptors.
    for (const char* arg : {"--in-memory", "--single-file-segments"}) {
      args.emplace_back(arg);
    }
    // Without an IOMMU a physical device wants physical addresses: EAL sees which.
    if (!running.pci) args.emplace_back("--iova-mode=va");
    // More than that comes as it is needed.
    if (config.memory_mb() != 0) args.push_back(absl::StrCat("-m", running.memory_mb));
  } else {
    args.insert(args.end(), {"--no-huge", "--no-shconf", absl::StrCat("-m", running.memory_mb)});
  }
  if (!running.pci) args.emplace_back("--no-pci");
  for (const std::string& device : pci_devices) {
    args.emplace_back("-a");
    args.push_back(device);
  }
  args.insert(args.end(), config.eal_args().begin(), config.eal_args().end());
  return args;
}

// What C code prints goes to `stream` for as long as this lives.
class StandardStreamsTo {
 public:
  explicit StandardStreamsTo(FILE* stream) {
    std::fflush(stdout);
    stdout = stream;
    stderr = stream;
  }
  ~StandardStreamsTo() {
    std::fflush(stdout);
    stdout = out_;
    stderr = err_;
  }
  StandardStreamsTo(const StandardStreamsTo&) = delete;
  StandardStreamsTo& operator=(const StandardStreamsTo&) = delete;

 private:
  FILE* const out_ = stdout;
  FILE* const err_ = stderr;
};

// 0, or an errno.
int InitEal(std::vector<std::string> args) {
  std::vector<char*> argv;
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  int error = 0;
  // EAL binds the thread that starts it to a core and marks it as its own: not the caller's then.
  std::thread starter([&] {
    if (rte_eal_init(static_cast<int>(argv.size()) - 1, argv.data()) < 0) {
      error = rte_errno != 0 ? rte_errno : EINVAL;
    }
  });
  starter.join();
  return error;
}

}  // namespace

std::mutex& ControlMutex() {
  static auto* const mutex = new std::mutex;
  return *mutex;
}

absl::Status StartEal(const config::Dpdk& config, const std::vector<std::string>& pci_devices,
                      uint32_t memory_mb) {
  static absl::Status failure;  // EAL does not get a second chance
  const bool pci = !pci_devices.empty();
  if (TheRunning().has_value()) return CheckAgrees(*TheRunning(), config, pci);
  if (!failure.ok()) return failure;

  const uint32_t wanted_mb = config.memory_mb() != 0 ? config.memory_mb() : memory_mb;
  const absl::StatusOr<bool> huge_pages = ChooseHugePages(config, pci, wanted_mb);
  if (!huge_pages.ok()) return huge_pages.status();
  const absl::StatusOr<int> core = MainCore(config);
  if (!core.ok()) return core.status();

  const auto& args = config.eal_args();
  const bool wants_log = std::any_of(args.begin(), args.end(), [](const std::string& arg) {
    return absl::StartsWith(arg, "--log-level");
  });
  FILE* const stream = LogBuffer::Get().OpenStream(/*echo=*/wants_log ? stderr : nullptr);
  rte_openlog_stream(stream);
  Running running = {config, *huge_pages, pci, wanted_mb};
  if (config.memory_mb() == 0 && !*huge_pages) {
    running.memory_mb = std::max(wanted_mb, kOrdinaryMemoryMbMin);
  }
  const EalLog log;
  const ScopedSignalBlock block;
  // Of arguments that it does not know, EAL complains to the terminal, by pages.
  std::optional<StandardStreamsTo> quiet;
  if (!args.empty()) quiet.emplace(stream);
  if (const int error = InitEal(Arguments(config, running, *core, pci_devices)); error != 0) {
    std::fflush(stream);
    failure = log.Explain("DPDK does not start", error);
    return failure;
  }
  TheRunning() = running;
  return absl::OkStatus();
}

ScopedSignalBlock::ScopedSignalBlock() {
  sigset_t pending;
  pipe_pending_ = sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before_);
}

ScopedSignalBlock::~ScopedSignalBlock() {
  if (!pipe_pending_) {
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    const timespec now = {0, 0};
    while (sigtimedwait(&pipe, nullptr, &now) == -1 && errno == EINTR) {
    }
  }
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace weft::dpdk
