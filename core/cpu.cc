// SPDX-License-Identifier: Apache-2.0

#include "weft/core/cpu.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <bitset>
#include <cerrno>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace weft {
namespace {

// A cpu_set_t has room for 1024 cores only.
struct CoreSet {
  static_assert(kMaxCores % CPU_SETSIZE == 0);
  cpu_set_t sets[kMaxCores / CPU_SETSIZE] = {};
};

std::vector<int> CoresOfThisThread() {
  CoreSet set;
  std::vector<int> cores;
  if (sched_getaffinity(0, sizeof(set), set.sets) != 0) return cores;
  for (int core = 0; core < kMaxCores; ++core) {
    if (CPU_ISSET_S(core, sizeof(set), set.sets)) cores.push_back(core);
  }
  return cores;
}

// Ascending cores in the form that ParseCoreList reads.
std::string FormatCoreList(const std::vector<int>& cores) {
  std::string text;
  for (size_t first = 0; first < cores.size();) {
    size_t last = first;
    while (last + 1 < cores.size() && cores[last + 1] == cores[last] + 1) ++last;
    absl::StrAppend(&text, text.empty() ? "" : ",", cores[first]);
    if (last > first) absl::StrAppend(&text, "-", cores[last]);
    first = last + 1;
  }
  return text;
}

absl::Status ListError(absl::string_view text, absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat("core list \"", text, "\": ", problem,
                                                 "; write numbers and ranges, as in \"0-3,8\""));
}

bool ParseCore(absl::string_view text, int* core) {
  // SimpleAtoi takes signs as well.
  return !text.empty() && absl::ascii_isdigit(static_cast<unsigned char>(text[0])) &&
         absl::SimpleAtoi(text, core) && *core < kMaxCores;
}

}  // namespace

std::vector<int> AllowedCores() {
  static const auto* const cores = new std::vector<int>(CoresOfThisThread());
  return *cores;
}

absl::Status PinThisThread(int core) {
  const std::vector<int> allowed = AllowedCores();
  if (core >= 0 && core < kMaxCores) {
    CoreSet set;
    CPU_SET_S(core, sizeof(set), set.sets);
    if (sched_setaffinity(0, sizeof(set), set.sets) == 0) return absl::OkStatus();
    if (errno != EINVAL) {
      return absl::ErrnoToStatus(errno, absl::StrCat("cannot pin a thread to core ", core));
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("cannot pin a thread to core ", core, ": this process may use ",
                   allowed.size() == 1 ? "core " : "cores ", FormatCoreList(allowed)));
}

absl::StatusOr<std::vector<int>> ParseCoreList(absl::string_view text) {
  std::vector<int> cores;
  std::bitset<kMaxCores> seen;
  if (absl::StripAsciiWhitespace(text).empty()) return ListError(text, "no core is named");
  for (absl::string_view item : absl::StrSplit(text, ',')) {
    item = absl::StripAsciiWhitespace(item);
    const std::pair<absl::string_view, absl::string_view> ends =
        absl::StrSplit(item, absl::MaxSplits('-', 1));
    const bool is_range = item.find('-') != absl::string_view::npos;
    int first, last;
    for (const auto& [end, core] :
         {std::pair(ends.first, &first), std::pair(is_range ? ends.second : ends.first, &last)}) {
      if (!ParseCore(end, core)) {
        return ListError(
            text, absl::StrCat("\"", end, "\" is not a core number from 0 to ", kMaxCores - 1));
      }
    }
    if (last < first) return ListError(text, absl::StrCat("range \"", item, "\" is descending"));
    for (int core = first; core <= last; ++core) {
      if (seen[core]) return ListError(text, absl::StrCat("core ", core, " is named twice"));
      seen[core] = true;
      cores.push_back(core);
    }
  }
  return cores;
}

void NameThisThread(absl::string_view name) {
  pthread_setname_np(pthread_self(), std::string(name.substr(0, 15)).c_str());
}

void RunInBackground(absl::string_view name) {
  constexpr int kNiceness = 10;
  NameThisThread(name);
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  CoreSet set;
  for (const int core : AllowedCores()) CPU_SET_S(core, sizeof(set), set.sets);
  // What the system refuses costs others some of their time, and is no reason to fail.
  (void)sched_setaffinity(0, sizeof(set), set.sets);
  // For Linux, a thread has a niceness of its own.
  (void)setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNiceness);
}

}  // namespace weft
