// SPDX-License-Identifier: Apache-2.0
//
// What comes and goes with a transport, however it goes, and what a user is told when it cannot
// come.
#include "weft/transports/afxdp/afxdp_transport.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <filesystem>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "weft/transports/afxdp/afxdp_test_util.h"
#include "weft/transports/afxdp/xdp_socket.h"

namespace weft::afxdp {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// Why no port can be opened.
absl::Status Failure(const std::string& settings, const PortOptions& options = {}) {
  auto transport = OpenAfxdp(settings);
  return transport.ok() ? (*transport)->OpenFramePort(options).status() : transport.status();
}

std::string Message(const absl::Status& status) { return std::string(status.message()); }

// A process that opens a port on near0 and keeps it until it is killed.
class Holder {
 public:
  Holder() {
    int ends[2];
    if (pipe(ends) != 0) std::abort();
    pid_ = fork();
    if (pid_ == 0) {
      const End end = OpenEnd("near0");
      if (write(ends[1], "x", 1) != 1) _exit(1);
      for (;;) pause();
    }
    close(ends[1]);
    char byte;
    if (read(ends[0], &byte, 1) != 1) std::abort();
    close(ends[0]);
  }
  ~Holder() { Kill(); }
  void Kill() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(std::exchange(pid_, 0), nullptr, 0);
  }

 private:
  pid_t pid_;
};

// What `f` returns in a process of its own, which may do to itself what it likes.
template <typename F>
std::string InAnotherProcess(F f) {
  int ends[2];
  if (pipe(ends) != 0) std::abort();
  const pid_t pid = fork();
  if (pid == 0) {
    const std::string text = f();
    _exit(write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : 1);
  }
  close(ends[1]);
  std::string text;
  char buffer[1024];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof(buffer))) > 0;) {
    text.append(buffer, static_cast<size_t>(n));
  }
  close(ends[0]);
  waitpid(pid, nullptr, 0);
  return text;
}

// Takes capability `number` from this process.
void DropCapability(int number) {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  syscall(SYS_capget, &header, data);
  data[number / 32].effective &= ~(1u << number % 32);
  data[number / 32].permitted &= ~(1u << number % 32);
  syscall(SYS_capset, &header, data);
}

// A program of `name` that passes everything on, attached to near0 as `ip link` does it: it stays
// when its process has gone.
void AttachByNetlink(const char* name, uint32_t mode) {
  const bpf_insn pass[] = {
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = XDP_PASS},
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
  const UniqueFd fd(bpf_prog_load(BPF_PROG_TYPE_XDP, name, "GPL", pass, std::size(pass), nullptr));
  const auto index = static_cast<int>(if_nametoindex("near0"));
  ASSERT_EQ(bpf_xdp_attach(index, fd.get(), mode, nullptr), 0);
}

class AfxdpTransportTest : public VethTest {};

TEST_F(AfxdpTransportTest, TheProgramComesWithTheFirstPortAndGoesWithTheLast) {
  MakePair({.queues = 2});
  if (IsSkipped()) return;
  auto transport = ValueOrDie(OpenAfxdp("afxdp { interface: 'near0' }"));
  EXPECT_THAT(Link("near0"), Not(HasSubstr("xdp")));
  auto a = ValueOrDie(transport->OpenFramePort({.local = {}, .queue = 0, .queues = 2}));
  auto b = ValueOrDie(transport->OpenFramePort({.local = {}, .queue = 1, .queues = 2}));
  EXPECT_THAT(Link("near0"), HasSubstr("xdp"));
  a.reset();
  EXPECT_THAT(Link("near0"), HasSubstr("xdp"));
  b.reset();
  EXPECT_THAT(Link("near0"), Not(HasSubstr("xdp")));
}

TEST_F(AfxdpTransportTest, PortsLeaveNothingBehind) {
  MakePair();
  if (IsSkipped()) return;
  auto transport = ValueOrDie(OpenAfxdp("afxdp { interface: 'near0' }"));
  const auto open_files = [] {
    std::filesystem::directory_iterator files("/proc/self/fd");
    return std::distance(begin(files), end(files));
  };
  { auto warm_up = ValueOrDie(transport->OpenFramePort({})); }
  const auto before = open_files();
  for (int i = 0; i < 20; ++i) {
    auto port = transport->OpenFramePort({});
    ASSERT_TRUE(port.ok()) << port.status();
  }
  EXPECT_EQ(open_files(), before);
}

TEST_F(AfxdpTransportTest, NothingIsLeftOfAProcessThatIsKilled) {
  MakePair();
  if (IsSkipped()) return;
  Holder holder;
  EXPECT_THAT(Link("near0"), HasSubstr("xdp"));
  holder.Kill();
  EXPECT_THAT(Link("near0"), Not(HasSubstr("xdp")));
  End end = OpenEnd("near0");
  End far = There([] { return OpenEnd("far0"); });
  ASSERT_TRUE(SendText(far.port(), EthernetHeader(kBroadcast, far.port().mac()) + "again"));
  EXPECT_TRUE(ReceiveOne(end.port()));
}

TEST_F(AfxdpTransportTest, AnInterfaceBelongsToOneProgram) {
  MakePair();
  if (IsSkipped()) return;
  const Holder holder;
  const absl::Status status = Failure("afxdp { interface: 'near0' }");
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists) << status;
  EXPECT_THAT(Message(status),
              AllOf(HasSubstr("another program that uses weft"), HasSubstr("near0")));
  // In the other mode too.
  EXPECT_EQ(Failure("afxdp { interface: 'near0' mode: GENERIC }").code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(Link("near0"), HasSubstr("xdp"));
}

TEST_F(AfxdpTransportTest, AProgramOfSomebodyElseIsNamedAndStays) {
  MakePair();
  if (IsSkipped()) return;
  const struct {
    uint32_t flag;
    const char* remedy;
  } modes[] = {{XDP_FLAGS_DRV_MODE, "ip link set dev near0 xdpdrv off"},
               {XDP_FLAGS_SKB_MODE, "ip link set dev near0 xdpgeneric off"}};
  for (const auto& mode : modes) {
    AttachByNetlink("somebody", mode.flag);
    const absl::Status status = Failure("afxdp { interface: 'near0' }");
    EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
    EXPECT_THAT(Message(status), AllOf(HasSubstr("somebody"), HasSubstr(mode.remedy)));
    EXPECT_THAT(Link("near0"), HasSubstr("xdp"));
    ASSERT_TRUE(Shell(mode.remedy));
    EXPECT_TRUE(Failure("afxdp { interface: 'near0' }").ok());
  }
}

TEST_F(AfxdpTransportTest, AStaleProgramOfOursIsReplaced) {
  MakePair();
  if (IsSkipped()) return;
  for (const uint32_t mode : {XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE}) {
    AttachByNetlink("weft_afxdp", mode);
    EXPECT_THAT(Link("near0"), HasSubstr("xdp"));
    EXPECT_EQ(Failure("afxdp { interface: 'near0' }"), absl::OkStatus());
    EXPECT_THAT(Link("near0"), Not(HasSubstr("xdp")));
  }
}

TEST_F(AfxdpTransportTest, DriversWithoutNativeXdpGetGeneric) {
  MakePair();
  if (IsSkipped()) return;
  if (!Shell("ip link add plain0 type bridge || ip link add plain0 type dummy") ||
      !Shell("ip link set plain0 up")) {
    GTEST_SKIP() << "this kernel has neither bridges nor dummy interfaces";
  }
  End end = OpenEnd("plain0");
  EXPECT_FALSE(static_cast<AfxdpFramePort&>(end.port()).is_native());
  end.Close();
  const absl::Status native = Failure("afxdp { interface: 'plain0' mode: NATIVE }");
  EXPECT_EQ(native.code(), absl::StatusCode::kUnimplemented) << native;
  EXPECT_THAT(Message(native), AllOf(HasSubstr("plain0"), HasSubstr("afxdp.mode")));
}

TEST_F(AfxdpTransportTest, ZeroCopyThatIsRequiredAndMissingIsAnError) {
  MakePair();
  if (IsSkipped()) return;
  const absl::Status status = Failure("afxdp { interface: 'near0' zero_copy: REQUIRED }");
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << status;
  EXPECT_THAT(Message(status), HasSubstr("afxdp.zero_copy"));
  EXPECT_THAT(Link("near0"), Not(HasSubstr("xdp")));
}

TEST_F(AfxdpTransportTest, QueuesThatDoNotExistAreRefused) {
  MakePair({.queues = 2});
  if (IsSkipped()) return;
  const absl::Status status =
      Failure("afxdp { interface: 'near0' }", {.local = {}, .queue = 0, .queues = 3});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(status), HasSubstr("'near0' has 2 queues, and queue 2 is asked for"));
  EXPECT_EQ(Failure("afxdp { interface: 'near0' first_queue: 2 }").code(),
            absl::StatusCode::kInvalidArgument);
  for (const auto& [queue, queues] : {std::pair{1, 1}, {-1, 1}, {2, 2}, {0, 0}}) {
    EXPECT_EQ(
        Failure("afxdp { interface: 'near0' }", {.local = {}, .queue = queue, .queues = queues})
            .code(),
        absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(AfxdpTransportTest, AQueueThatSomebodyElseHasIsBusy) {
  MakePair();
  if (IsSkipped()) return;
  const Interface near0 = ValueOrDie(FindInterface("near0"));
  BufferPool chunks({.count = 64, .bytes = 2048 - 64});
  config::Afxdp config;
  const auto socket = ValueOrDie(XdpSocket::Open({.interface = &near0,
                                                  .queue = 0,
                                                  .umem = chunks.region(),
                                                  .chunk_bytes = 2048,
                                                  .config = &config}));
  const absl::Status status = Failure("afxdp { interface: 'near0' }");
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists) << status;
  EXPECT_THAT(Message(status), HasSubstr("queue 0 of interface 'near0'"));
}

TEST_F(AfxdpTransportTest, TheLimitOfLockedMemoryIsNamed) {
  MakePair();
  if (IsSkipped()) return;
  const std::string text = InAnotherProcess([] {
    const rlimit limit = {65536, 65536};
    setrlimit(RLIMIT_MEMLOCK, &limit);
    DropCapability(CAP_IPC_LOCK);
    return Failure("afxdp { interface: 'near0' }").ToString();
  });
  EXPECT_THAT(text, AllOf(HasSubstr("RESOURCE_EXHAUSTED"), HasSubstr("locked memory"),
                          HasSubstr("buffers.count")));
}

TEST_F(AfxdpTransportTest, MissingCapabilitiesAreNamed) {
  MakePair();
  if (IsSkipped()) return;
  // CAP_SYS_ADMIN stands for those of BPF.
  for (const auto& capabilities : std::vector<std::vector<int>>{
           {CAP_NET_RAW}, {CAP_NET_ADMIN, CAP_SYS_ADMIN}, {CAP_BPF, CAP_SYS_ADMIN}}) {
    const std::string text = InAnotherProcess([&] {
      for (const int capability : capabilities) DropCapability(capability);
      return FindTransport("afxdp")->probe().ToString() +
             Failure("afxdp { interface: 'near0' }").ToString();
    });
    EXPECT_THAT(text, AllOf(HasSubstr("PERMISSION_DENIED"), HasSubstr("CAP_NET_RAW"),
                            Not(HasSubstr("OK"))));
  }
}

TEST_F(AfxdpTransportTest, SettingsAreChecked) {
  MakePair();
  if (IsSkipped()) return;
  const struct {
    const char* settings;
    absl::StatusCode code;
    const char* message;
  } cases[] = {
      {"", absl::StatusCode::kInvalidArgument, "needs an interface"},
      {"interface: 'nothere0'", absl::StatusCode::kNotFound, "no interface 'nothere0'"},
      {"interface: 'a-name-that-is-too-long'", absl::StatusCode::kNotFound, "no interface"},
      {"interface: 'lo'", absl::StatusCode::kInvalidArgument, "no Ethernet frames"},
      {"addresses: '10.0.0.1/24'", absl::StatusCode::kInvalidArgument, "\"10.0.0.1/24\""},
      {"addresses: '10.0.0.1:80'", absl::StatusCode::kInvalidArgument, "is no IP address"},
      {"addresses: '0.0.0.0'", absl::StatusCode::kInvalidArgument, "0.0.0.0"},
      {"addresses: '239.1.1.1'", absl::StatusCode::kInvalidArgument, "239.1.1.1"},
      {"addresses: 'ff02::1'", absl::StatusCode::kInvalidArgument, "ff02::1"},
      {"addresses: '::ffff:1.2.3.4'", absl::StatusCode::kInvalidArgument, "1.2.3.4"},
      {"ports: '0'", absl::StatusCode::kInvalidArgument, "\"0\""},
      {"ports: '65536'", absl::StatusCode::kInvalidArgument, "\"65536\""},
      {"ports: '80-70'", absl::StatusCode::kInvalidArgument, "\"80-70\""},
      {"ports: '80-'", absl::StatusCode::kInvalidArgument, "\"80-\""},
      {"ports: 'http'", absl::StatusCode::kInvalidArgument, "7000-7999"},
  };
  for (const auto& one : cases) {
    const std::string interface =
        std::string(one.settings).find("interface") == std::string::npos && *one.settings != 0
            ? "interface: 'near0' "
            : "";
    const absl::Status status = Failure(absl::StrCat("afxdp { ", interface, one.settings, " }"));
    EXPECT_EQ(status.code(), one.code) << one.settings << ": " << status;
    EXPECT_THAT(Message(status), HasSubstr(one.message));
  }
  const absl::Status status = Failure("afxdp { interface: 'near0' }", {.local = Address::Shm("x")});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(Shell("ip link set near0 mtu 65521"));
  EXPECT_THAT(Message(Failure("afxdp { interface: 'near0' }")), HasSubstr("65521"));
}

}  // namespace
}  // namespace weft::afxdp
