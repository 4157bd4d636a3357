// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/secret.h"

#include <cstdint>
#include <set>
#include <vector>

#include "gtest/gtest.h"

namespace weft::tcp {
namespace {

using netstack::IpAddress;

constexpr int64_t kSecond = 1'000'000'000;

const Flow kFlow = {IpAddress::V4(0x0a000001u), IpAddress::V4(0x0a000002u), 40000, 80};

// `kFlow` with one thing changed.
std::vector<Flow> Others() {
  std::vector<Flow> others(4, kFlow);
  others[0].local = IpAddress::V4(0x0a000003u);
  others[1].remote = IpAddress::V4(0x0a000003u);
  others[2].local_port = 40001;
  others[3].remote_port = 81;
  return others;
}

TEST(SecretTest, SequenceNumbersOfAFlowFollowTheClock) {
  const Secret secret(7);
  for (const int64_t start_ns : {int64_t{0}, 17'179 * kSecond, 1'000'000 * kSecond}) {
    const Seq first = secret.InitialSequence(kFlow, start_ns);
    EXPECT_EQ(secret.InitialSequence(kFlow, start_ns + 4000) - first, 1);
    EXPECT_EQ(secret.InitialSequence(kFlow, start_ns + kSecond) - first, 250'000);
    EXPECT_GT(secret.InitialSequence(kFlow, start_ns + 240 * kSecond), first);
  }
}

TEST(SecretTest, SequenceNumbersOfFlowsHaveNothingToDoWithEachOther) {
  const Secret secret(7);
  std::set<uint32_t> seen = {secret.InitialSequence(kFlow, 0).value(),
                             Secret(8).InitialSequence(kFlow, 0).value()};
  for (const Flow& other : Others()) seen.insert(secret.InitialSequence(other, 0).value());
  EXPECT_EQ(seen.size(), 6u);
}

TEST(SecretTest, PortsDependOnTheDestinationAndNotOnThePortItself) {
  const Secret secret(7);
  const auto others = Others();
  EXPECT_EQ(secret.PortOffset(others[2]), secret.PortOffset(kFlow));
  EXPECT_NE(secret.PortOffset(others[0]), secret.PortOffset(kFlow));
  EXPECT_NE(secret.PortOffset(others[1]), secret.PortOffset(kFlow));
  EXPECT_NE(secret.PortOffset(others[3]), secret.PortOffset(kFlow));
  EXPECT_NE(Secret(8).PortOffset(kFlow), secret.PortOffset(kFlow));
}

TEST(SecretTest, TimestampsDependOnBothAddresses) {
  const Secret secret(7);
  const uint32_t offset = secret.TimestampOffset(kFlow.local, kFlow.remote);
  EXPECT_EQ(secret.TimestampOffset(kFlow.local, kFlow.remote), offset);
  EXPECT_NE(secret.TimestampOffset(kFlow.remote, kFlow.local), offset);
  EXPECT_NE(secret.TimestampOffset(kFlow.local, IpAddress::V4(0x0a000003u)), offset);
}

TEST(SecretTest, EachPurposeHasItsOwnHash) {
  const Secret secret(7);
  std::set<uint64_t> seen;
  for (const auto purpose : {Secret::Purpose::kSequence, Secret::Purpose::kPort,
                             Secret::Purpose::kTimestamp, Secret::Purpose::kCookie,
                             Secret::Purpose::kCookieOfMinute, Secret::Purpose::kConnectionTable}) {
    seen.insert(secret.Hash(purpose, kFlow));
    seen.insert(secret.Hash(purpose, kFlow, 1));
  }
  EXPECT_EQ(seen.size(), 12u);
}

}  // namespace
}  // namespace weft::tcp
