// SPDX-License-Identifier: Apache-2.0
//
// A session that has nothing to say costs little memory.

#include <malloc.h>

#include <cstddef>
#include <memory>

#include "gtest/gtest.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/rpc/server.h"
#include "weft/rpc/server_workload.h"

namespace weft::rpc {
namespace {

size_t HeapBytes() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

TEST(SessionMemoryTest, AHundredThousandIdleSessions) {
  constexpr size_t kSessions = 100'000;
  ManualClock clock;
  Loop loop({}, clock);
  auto owned = std::make_unique<WorkloadPort>(kSessions);
  WorkloadPort& port = *owned;
  const size_t before = HeapBytes();
  auto server = *Server::Create(
      loop, std::move(owned), {.session = {.timeout = absl::Hours(1)}},
      [](ServerCall call) { EXPECT_TRUE(call.Reply(std::move(call.request())).ok()); });
  port.Allow(kSessions);
  while (port.replies() < kSessions) ASSERT_GT(loop.RunOnce(), 0u);
  EXPECT_EQ(server->stats().sessions.value(), static_cast<int64_t>(kSessions));
  EXPECT_GT(server->stats().kept_reply_bytes.value(), 0);
  // Half an hour, in which the sweep comes by.
  for (int i = 0; i < 1800 * 10; ++i) {
    clock.Advance(100'000'000);
    loop.RunOnce();
  }
  EXPECT_EQ(server->stats().sessions.value(), static_cast<int64_t>(kSessions));
  EXPECT_EQ(server->stats().kept_reply_bytes.value(), 0);
  const size_t bytes = (HeapBytes() - before) / kSessions;
  RecordProperty("bytes_per_session", static_cast<int>(bytes));
  EXPECT_LE(bytes, 1024u);
}

}  // namespace
}  // namespace weft::rpc
