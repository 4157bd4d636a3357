// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/peer_process.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "weft/core/cpu.h"

namespace weft::benchmarks {
namespace {

using ::testing::HasSubstr;

absl::Status Sum(Peer& peer) {
  peer.Report(sched_getcpu());
  peer.Report(static_cast<double>(peer.Number(0) + peer.Number(1)));
  return absl::OkStatus();
}

absl::Status WriteSharedMemory(Peer& peer) {
  const char byte = 42;
  if (pwrite(peer.shared_fd(), &byte, 1, 0) != 1) return absl::ErrnoToStatus(errno, "pwrite");
  peer.Report(0);
  return absl::OkStatus();
}

absl::Status Fail(Peer&) { return absl::InternalError("no luck"); }

absl::Status Hang(Peer& peer) {
  peer.Report(getpid());
  while (true) pause();
}

// A peer with a peer of its own, which reports that one's process id.
absl::Status Nest(Peer& peer) {
  auto inner = PeerProcess::Start({.role = "hang", .core = AllowedCores().front()});
  if (!inner.ok()) return inner.status();
  peer.Report((*inner)->pid());
  while (true) pause();
}

constexpr PeerRole kRoles[] = {
    {"sum", &Sum}, {"write", &WriteSharedMemory}, {"fail", &Fail}, {"hang", &Hang}, {"nest", &Nest},
};

constexpr absl::Duration kTimeout = absl::Seconds(20);

std::unique_ptr<PeerProcess> Start(PeerOptions options) {
  if (options.core == 0) options.core = AllowedCores().front();
  return *PeerProcess::Start(options);
}

TEST(PeerProcessTest, RunsARoleOnItsCore) {
  const int core = AllowedCores().back();
  const auto peer = Start({.role = "sum", .core = core, .arguments = {"40", "2"}});
  EXPECT_EQ(*peer->AwaitReport(kTimeout), core);
  EXPECT_EQ(*peer->AwaitReport(kTimeout), 42);
}

TEST(PeerProcessTest, SharesADescriptor) {
  const int fd = memfd_create("test", MFD_CLOEXEC);
  const auto peer = Start({.role = "write", .shared_fd = fd});
  EXPECT_TRUE(peer->AwaitReport(kTimeout).ok());
  char byte = 0;
  EXPECT_EQ(pread(fd, &byte, 1, 0), 1);
  EXPECT_EQ(byte, 42);
  close(fd);
}

TEST(PeerProcessTest, PassesErrorsOn) {
  EXPECT_EQ(Start({.role = "fail"})->AwaitReport(kTimeout).status(),
            absl::InternalError("fail: no luck"));
  EXPECT_EQ(Start({.role = "unheard of"})->AwaitReport(kTimeout).status(),
            absl::InternalError("unheard of: this program has no such role"));
  EXPECT_THAT(
      std::string(
          Start({.role = "hang", .core = kMaxCores - 1})->AwaitReport(kTimeout).status().message()),
      HasSubstr("cannot pin a thread to core 4095"));
}

TEST(PeerProcessTest, NoticesDeathAndSilence) {
  const auto peer = Start({.role = "hang"});
  ASSERT_TRUE(peer->AwaitReport(kTimeout).ok());
  EXPECT_EQ(peer->AwaitReport(absl::Milliseconds(1)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  kill(peer->pid(), SIGKILL);
  EXPECT_EQ(peer->AwaitReport(kTimeout).status().code(), absl::StatusCode::kUnavailable);
}

TEST(PeerProcessTest, EndsWithItsHandle) {
  auto peer = Start({.role = "hang"});
  const auto pid = static_cast<pid_t>(*peer->AwaitReport(kTimeout));
  peer.reset();
  EXPECT_EQ(kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(PeerProcessTest, EndsWithTheProcessThatStartedIt) {
  auto outer = Start({.role = "nest"});
  const auto inner = static_cast<pid_t>(*outer->AwaitReport(kTimeout));
  outer.reset();
  // It dies with a signal; who reaps it, and when, is not ours to say.
  bool gone = false;
  for (int i = 0; i < 2000 && !gone; ++i) {
    std::string stat;
    char buffer[256] = {};
    if (FILE* const file = fopen(absl::StrCat("/proc/", inner, "/stat").c_str(), "r")) {
      stat.assign(buffer, fread(buffer, 1, sizeof(buffer), file));
      fclose(file);
    }
    gone = stat.empty() || stat.find(") Z ") != std::string::npos;
    if (!gone) usleep(5000);
  }
  EXPECT_TRUE(gone);
}

TEST(PeerProcessTest, EndsWhenItsLifetimeIsOver) {
  const auto peer = Start({.role = "hang", .lifetime = absl::ZeroDuration()});
  absl::StatusOr<double> report = peer->AwaitReport(kTimeout);
  if (report.ok()) report = peer->AwaitReport(kTimeout);
  EXPECT_EQ(report.status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace weft::benchmarks

int main(int argc, char** argv) {
  if (weft::benchmarks::IsPeer(argc, argv)) {
    return weft::benchmarks::RunPeer(argc, argv, weft::benchmarks::kRoles);
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
