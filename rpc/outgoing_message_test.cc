// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/outgoing_message.h"

#include <cstring>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "weft/core/buffer.h"

namespace weft::rpc {
namespace {

constexpr int64_t kRttNs = 100'000;

// A PROGRESS as a receiver makes it: `here` has a '1' for each packet behind the first missing one.
struct Told {
  uint16_t cumulative;
  uint16_t granted;
  absl::string_view here = "";
  std::optional<uint32_t> echo = std::nullopt;
  bool resent = false;
};

class OutgoingMessageTest : public testing::Test {
 protected:
  // Of packets of one byte.
  void Start(size_t packets, size_t granted) {
    const std::string bytes(packets, 'x');
    ASSERT_TRUE(message_.Start(
        Payload::Copy({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}), 1, granted));
  }

  // Sends all that may be sent at `now_ns`, at most `max`.
  std::vector<size_t> Send(int64_t now_ns, size_t max = 100'000) {
    std::vector<size_t> sent;
    for (std::optional<size_t> next; sent.size() < max && (next = message_.Next());) {
      message_.OnSent(*next, now_ns);
      sent.push_back(*next);
    }
    return sent;
  }

  OutgoingMessage::Acked Tell(const Told& told, int64_t now_ns = kRttNs) {
    std::vector<uint8_t> bitmap((told.here.size() + 7) / 8);
    for (size_t i = 0; i < told.here.size(); ++i) {
      if (told.here[i] == '1') bitmap[i / 8] |= 0x80 >> (i % 8);
    }
    const ExtendedHeader header = {.type = MessageType::kAck,
                                   .first = true,
                                   .resent = told.resent,
                                   .echo_valid = told.echo.has_value(),
                                   .packet_order = told.cumulative,
                                   .echo = told.echo.value_or(0),
                                   .kind = ControlKind::kProgress};
    return message_.OnProgress(header,
                               {.granted = told.granted,
                                .bits = static_cast<uint16_t>(told.here.size()),
                                .bitmap = bitmap},
                               now_ns, kRttNs);
  }

  static std::vector<size_t> Range(size_t begin, size_t end) {
    std::vector<size_t> range(end - begin);
    std::iota(range.begin(), range.end(), begin);
    return range;
  }

  OutgoingMessage message_;
};

using Indices = std::vector<size_t>;

TEST_F(OutgoingMessageTest, WithoutAMessageNothingIsToBeDone) {
  EXPECT_FALSE(message_.active());
  EXPECT_FALSE(message_.complete());
  EXPECT_EQ(message_.Next(), std::nullopt);
  EXPECT_EQ(message_.OnTimeout(), 0u);
  EXPECT_FALSE(Tell({.cumulative = 0, .granted = 4}).valid);
}

TEST_F(OutgoingMessageTest, CutsOnePieceIntoEqualPackets) {
  const std::string text = "abcdefgh";
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  ASSERT_TRUE(message_.Start(Payload::External({bytes, 8}), 3, 100));
  EXPECT_EQ(message_.packets(), 3u);
  EXPECT_EQ(message_.granted(), 3u);
  EXPECT_EQ(message_.bytes(), 8u);
  EXPECT_EQ(message_.packet(0), absl::MakeConstSpan(bytes, 3));
  EXPECT_EQ(message_.packet(2), absl::MakeConstSpan(bytes + 6, 2));
  EXPECT_EQ(message_.packet(2).data(), bytes + 6);  // not a copy
}

TEST_F(OutgoingMessageTest, CutsPiecesAtTheirEnds) {
  BufferPool pool({.count = 8, .bytes = 64, .headroom = 0});
  BufferChain chain;
  for (const absl::string_view text : {"abcd", "", "e", "fghijk"}) {
    Buffer buffer = pool.Allocate();
    std::memcpy(buffer.Append(text.size()), text.data(), text.size());
    chain.Append(std::move(buffer));
  }
  Payload payload(std::move(chain));
  EXPECT_EQ(OutgoingMessage::PacketsOf(payload, 3), 5u);
  ASSERT_TRUE(message_.Start(std::move(payload), 3, 5));
  std::vector<std::string> packets;
  for (size_t i = 0; i < message_.packets(); ++i) {
    packets.emplace_back(message_.packet(i).begin(), message_.packet(i).end());
  }
  EXPECT_EQ(packets, (std::vector<std::string>{"abc", "d", "e", "fgh", "ijk"}));
  EXPECT_EQ(message_.Release().size(), 11u);
  EXPECT_FALSE(message_.active());
  EXPECT_EQ(pool.available(), pool.count());
}

TEST_F(OutgoingMessageTest, NoBytesAreOnePacket) {
  ASSERT_TRUE(message_.Start(Payload(), 100, 1));
  EXPECT_EQ(message_.packets(), 1u);
  EXPECT_TRUE(message_.packet(0).empty());
  EXPECT_EQ(Send(0), Indices{0});
  EXPECT_TRUE(Tell({.cumulative = 1, .granted = 1}).complete);
}

TEST_F(OutgoingMessageTest, AsManyPacketsAsTheHeaderCanNumber) {
  bool released = false;
  const std::vector<uint8_t> bytes(kExtendedPacketsMax + 1);
  EXPECT_FALSE(message_.Start(Payload::External(bytes, [&] { released = true; }), 1, 9));
  EXPECT_TRUE(released);
  EXPECT_FALSE(message_.active());
  ASSERT_TRUE(
      message_.Start(Payload::External(absl::MakeSpan(bytes).subspan(1)), 1, kExtendedPacketsMax));
  EXPECT_EQ(Send(0).size(), kExtendedPacketsMax);
  EXPECT_EQ(message_.OnTimeout(), kExtendedPacketsMax);
  EXPECT_EQ(Send(1).size(), kExtendedPacketsMax);
  const OutgoingMessage::Acked acked = Tell({.cumulative = 65535, .granted = 65535});
  EXPECT_TRUE(acked.complete);
  EXPECT_EQ(acked.packets, kExtendedPacketsMax);
}

TEST_F(OutgoingMessageTest, SendsBelowTheEdgeAsItMoves) {
  Start(10, 3);
  EXPECT_EQ(Send(0), Range(0, 3));
  EXPECT_EQ(message_.in_flight(), 3u);
  OutgoingMessage::Acked acked = Tell({.cumulative = 2, .granted = 6});
  EXPECT_TRUE(acked.valid);
  EXPECT_TRUE(acked.moved_edge);
  EXPECT_EQ(acked.packets, 2u);
  EXPECT_EQ(message_.in_flight(), 1u);
  EXPECT_EQ(Send(1), Range(3, 6));
  acked = Tell({.cumulative = 6, .granted = 6});
  EXPECT_FALSE(acked.moved_edge);
  EXPECT_FALSE(acked.complete);
  EXPECT_EQ(message_.Next(), std::nullopt);
  // Stalled: what would make it go on was lost. A probe asks for it, and changes nothing.
  EXPECT_EQ(message_.OnTimeout(), 0u);
  EXPECT_TRUE(message_.WasSent(0));
  message_.OnSent(0, 2);
  EXPECT_EQ(message_.in_flight(), 0u);
  EXPECT_TRUE(Tell({.cumulative = 6, .granted = 10}).moved_edge);
  EXPECT_EQ(Send(3), Range(6, 10));
  EXPECT_TRUE(Tell({.cumulative = 10, .granted = 10}).complete);
  EXPECT_TRUE(message_.complete());
}

TEST_F(OutgoingMessageTest, ThreeLaterOnesShowALoss) {
  Start(8, 8);
  Send(0);
  EXPECT_EQ(Tell({.cumulative = 0, .granted = 8, .here = "1"}).lost, 0u);
  EXPECT_EQ(Tell({.cumulative = 0, .granted = 8, .here = "11"}).lost, 0u);
  const OutgoingMessage::Acked acked = Tell({.cumulative = 0, .granted = 8, .here = "111"});
  EXPECT_EQ(acked.lost, 1u);
  EXPECT_EQ(message_.lost(), 1u);
  EXPECT_EQ(message_.in_flight(), 4u);
  EXPECT_EQ(Send(kRttNs), Indices{0});
}

TEST_F(OutgoingMessageTest, OneMuchLaterShowsALoss) {
  Start(8, 8);
  Send(0, 2);
  Send(kRttNs / 4, 1);
  Send(kRttNs / 4 + 1, 1);
  EXPECT_EQ(Tell({.cumulative = 0, .granted = 8, .here = "01"}).lost, 0u);  // not late enough
  EXPECT_EQ(Tell({.cumulative = 0, .granted = 8, .here = "011"}).lost, 2u);
  EXPECT_EQ(Send(kRttNs, 2), (Indices{0, 1}));
}

TEST_F(OutgoingMessageTest, WhatIsSentAgainCanBeFoundLostAgain) {
  Start(12, 12);
  Send(0, 4);
  EXPECT_EQ(Tell({.cumulative = 0, .granted = 12, .here = "111"}).lost, 1u);
  EXPECT_EQ(Send(kRttNs, 4), (Indices{0, 4, 5, 6}));
  EXPECT_EQ(
      Tell({.cumulative = 0, .granted = 12, .here = "111110", .echo = kRttNs}, 2 * kRttNs).lost,
      0u);
  EXPECT_EQ(
      Tell({.cumulative = 0, .granted = 12, .here = "111111", .echo = kRttNs}, 2 * kRttNs).lost,
      1u);
  EXPECT_EQ(message_.Next(), 0u);
}

// The echo tells that the first of the two has arrived, so that nothing is known of those between.
TEST_F(OutgoingMessageTest, ALateAnswerToTheFirstIsNotTakenForTheSecond) {
  Start(12, 12);
  Send(1000, 8);
  EXPECT_EQ(Tell({.cumulative = 0, .granted = 12, .here = "111", .echo = 1000}).lost, 1u);
  EXPECT_EQ(Send(kRttNs, 1), Indices{0});
  const OutgoingMessage::Acked acked =
      Tell({.cumulative = 4, .granted = 12, .echo = 1000}, kRttNs + 10);
  EXPECT_EQ(acked.packets, 1u);
  EXPECT_EQ(acked.lost, 0u);
  EXPECT_EQ(acked.spurious, 1u);
  EXPECT_EQ(message_.in_flight(), 4u);
  // From now on order shows nothing: 4 is not lost as 5, 6 and 7 were sent at the same time.
  EXPECT_EQ(Tell({.cumulative = 4, .granted = 12, .here = "111", .echo = 1000}).lost, 0u);
}

TEST_F(OutgoingMessageTest, WhatArrivesLateAfterATimeoutIsNoReordering) {
  Start(4, 4);
  Send(0);
  EXPECT_EQ(message_.OnTimeout(), 4u);
  EXPECT_EQ(message_.in_flight(), 0u);
  EXPECT_EQ(Send(5 * kRttNs, 2), (Indices{0, 1}));
  const OutgoingMessage::Acked acked = Tell({.cumulative = 3, .granted = 4, .echo = 0}, 6 * kRttNs);
  EXPECT_EQ(acked.packets, 3u);
  EXPECT_EQ(acked.spurious, 0u);
  EXPECT_EQ(message_.lost(), 1u);
  EXPECT_EQ(Send(7 * kRttNs), Indices{3});
}

TEST_F(OutgoingMessageTest, ATimeoutReplacesWhatWasGuessedBefore) {
  Start(8, 8);
  Send(0);
  EXPECT_EQ(Tell({.cumulative = 0, .granted = 8, .here = "111"}).lost, 1u);
  EXPECT_EQ(Send(kRttNs), Indices{0});
  EXPECT_EQ(message_.OnTimeout(), 5u);
  const OutgoingMessage::Acked acked = Tell({.cumulative = 8, .granted = 8}, 9 * kRttNs);
  EXPECT_EQ(acked.packets, 5u);
  EXPECT_EQ(acked.spurious, 0u);
}

TEST_F(OutgoingMessageTest, AReceiverThatWaitsInVainIsSentWhatShouldHaveCome) {
  Start(8, 6);
  Send(0, 3);
  Send(kRttNs, 3);
  OutgoingMessage::Acked acked =
      Tell({.cumulative = 1, .granted = 6, .resent = true}, 2 * kRttNs - 1);
  EXPECT_EQ(acked.lost, 2u);
  EXPECT_EQ(Send(2 * kRttNs), (Indices{1, 2}));
  acked = Tell({.cumulative = 1, .granted = 6, .resent = true}, 2 * kRttNs);
  EXPECT_EQ(acked.lost, 3u);
  EXPECT_EQ(message_.in_flight(), 2u);
  acked = Tell({.cumulative = 6, .granted = 8, .resent = true}, 2 * kRttNs);
  EXPECT_EQ(acked.spurious, 0u);
  EXPECT_EQ(Send(3 * kRttNs), (Indices{6, 7}));
}

TEST_F(OutgoingMessageTest, WithoutARoundTripTimeARepeatedProgressIsNotBelievedAtOnce) {
  Start(8, 8);
  Send(0);
  const ExtendedHeader header = {.type = MessageType::kAck,
                                 .first = true,
                                 .resent = true,
                                 .packet_order = 0,
                                 .kind = ControlKind::kProgress};
  EXPECT_EQ(message_.OnProgress(header, {.granted = 8}, 999'999, 0).lost, 0u);
  EXPECT_EQ(message_.OnProgress(header, {.granted = 8}, 1'000'000, 0).lost, 8u);
}

TEST_F(OutgoingMessageTest, ARefusedMessageBeginsAgain) {
  Start(6, 4);
  Send(0);
  OutgoingMessage::Acked acked = Tell({.cumulative = 0, .granted = 0});
  EXPECT_TRUE(acked.valid);
  EXPECT_TRUE(acked.refused);
  EXPECT_EQ(acked.lost, 0u);
  EXPECT_EQ(message_.in_flight(), 0u);
  EXPECT_EQ(message_.Next(), std::nullopt);
  EXPECT_EQ(message_.OnTimeout(), 0u);
  message_.OnSent(0, 10);  // the probe
  EXPECT_EQ(message_.in_flight(), 0u);
  EXPECT_TRUE(Tell({.cumulative = 0, .granted = 0}).refused);
  acked = Tell({.cumulative = 0, .granted = 3});
  EXPECT_TRUE(acked.moved_edge);
  EXPECT_TRUE(message_.WasSent(0));
  EXPECT_EQ(Send(20), Range(0, 3));
  // One that was overtaken by the promise.
  acked = Tell({.cumulative = 0, .granted = 0});
  EXPECT_TRUE(acked.valid);
  EXPECT_FALSE(acked.refused);
  EXPECT_EQ(message_.in_flight(), 3u);
  Tell({.cumulative = 3, .granted = 6});
  EXPECT_EQ(Send(30), Range(3, 6));
  EXPECT_TRUE(Tell({.cumulative = 6, .granted = 6}).complete);
}

TEST_F(OutgoingMessageTest, AProbeMayBeKept) {
  Start(6, 0);
  EXPECT_EQ(message_.Next(), std::nullopt);
  EXPECT_EQ(message_.OnTimeout(), 0u);
  EXPECT_FALSE(message_.WasSent(0));
  message_.OnSent(0, 0);
  EXPECT_EQ(Tell({.cumulative = 1, .granted = 3}).packets, 1u);
  EXPECT_EQ(Send(1), Range(1, 3));
}

TEST_F(OutgoingMessageTest, AResponseAnswersForAllPackets) {
  Start(6, 4);
  Send(0);
  EXPECT_EQ(message_.OnComplete(), 4u);
  EXPECT_TRUE(message_.complete());
  EXPECT_EQ(message_.Next(), std::nullopt);
  const OutgoingMessage::Acked acked = Tell({.cumulative = 2, .granted = 5});
  EXPECT_TRUE(acked.valid && acked.complete);
  EXPECT_EQ(acked.packets, 0u);
}

TEST_F(OutgoingMessageTest, TimesAndEchoesMayWrap) {
  const int64_t start_ns = (int64_t{5} << 32) - 50;  // the echo of what follows wraps
  Start(8, 8);
  Send(start_ns, 4);
  EXPECT_EQ(Tell({.cumulative = 0, .granted = 8, .here = "111"}, start_ns + 60).lost, 1u);
  Send(start_ns + 60, 4);  // 0, 4, 5, 6
  const OutgoingMessage::Acked acked =
      Tell({.cumulative = 4, .granted = 8, .echo = 10}, start_ns + 120);
  EXPECT_EQ(acked.packets, 1u);
  EXPECT_EQ(acked.spurious, 0u);
}

// What a PROGRESS may say of a message of 20 packets, edge 12, of which 0 to 9 were sent and 0, 1
// and 4 have been acknowledged.
struct Case {
  absl::string_view name;
  Told told;
  bool valid;
  size_t acknowledged = 3;  // afterwards
  size_t granted = 12;      // afterwards
};

class ProgressTest : public OutgoingMessageTest, public testing::WithParamInterface<Case> {};

TEST_P(ProgressTest, IsTakenOrChangesNothing) {
  const Case& c = GetParam();
  Start(20, 12);
  Send(0, 10);
  ASSERT_TRUE(Tell({.cumulative = 2, .granted = 12, .here = "010"}).valid);
  const OutgoingMessage::Acked acked = Tell(c.told);
  EXPECT_EQ(acked.valid, c.valid);
  EXPECT_EQ(acked.packets, c.acknowledged - 3);
  EXPECT_EQ(acked.moved_edge, c.granted > 12);
  EXPECT_FALSE(acked.refused);
  EXPECT_EQ(message_.acknowledged(), c.acknowledged);
  EXPECT_EQ(message_.granted(), c.granted);
  EXPECT_EQ(message_.in_flight() + message_.lost() + message_.acknowledged(), 10u);
}

INSTANTIATE_TEST_SUITE_P(
    Cases, ProgressTest,
    testing::Values(
        Case{"TheSameAgain", {2, 12, "010"}, true}, Case{"Stale", {1, 12, ""}, true},
        Case{"StaleFromTheBeginning", {0, 12, "100100"}, true},
        Case{"LessThanKnown", {2, 12, ""}, true}, Case{"EdgeGoesBack", {2, 5, "010"}, true},
        Case{"EdgeGoesTo0", {2, 0, "010"}, true},
        Case{"RefusedAfterSomethingWasAcknowledged", {0, 0, ""}, true},
        Case{"EdgeMoves", {2, 20, "010"}, true, 3, 20},
        Case{"StaleWithANewEdge", {1, 15, ""}, true, 3, 15},
        Case{"EdgeBeyondTheEnd", {2, 65535, ""}, true, 3, 20},
        Case{"AllThatWasSent", {10, 12, ""}, true, 10},
        Case{"AllThatWasSentButOne", {2, 12, "1111111"}, true, 9},
        Case{"MoreThanWasSent", {11, 12, ""}, false}, Case{"AllOfTheMessage", {20, 20, ""}, false},
        Case{"BeyondTheEnd", {21, 20, ""}, false}, Case{"FarBeyondTheEnd", {65535, 20, ""}, false},
        Case{"ABitOfAPacketThatWasNotSent", {2, 12, "00000001"}, false},
        Case{"ZerosBehindWhatWasSent", {2, 12, "01100000000000000"}, true, 4},
        Case{"ZerosBeyondTheEnd", {2, 12, "010000000000000000"}, false},
        Case{"ABitBeyondTheEnd", {2, 12, "010000000000000001"}, false},
        Case{"ABitNotSentWithANewEdge", {2, 20, "00000001"}, false}),
    [](const testing::TestParamInfo<Case>& info) { return std::string(info.param.name); });

TEST_F(OutgoingMessageTest, BitsBehindTheLastOneMeanNothing) {
  Start(20, 20);
  Send(0);
  const uint8_t bitmap[] = {0xFF};
  const ExtendedHeader header = {
      .type = MessageType::kAck, .first = true, .packet_order = 2, .kind = ControlKind::kProgress};
  const OutgoingMessage::Acked acked =
      message_.OnProgress(header, {.granted = 20, .bits = 3, .bitmap = bitmap}, 1, kRttNs);
  EXPECT_TRUE(acked.valid);
  EXPECT_EQ(acked.packets, 5u);
}

}  // namespace
}  // namespace weft::rpc
