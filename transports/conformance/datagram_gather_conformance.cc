// SPDX-License-Identifier: Apache-2.0
//
// What datagram_port.h promises of payloads that lie in two places, and of how long they may be.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "weft/transports/conformance/datagram_conformance.h"

namespace weft {
namespace {

absl::Span<const uint8_t> BytesOf(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

class DatagramGatherConformance : public DatagramTest {
 protected:
  bool gathers() { return transport().capabilities().gather; }

  // Sends all of it, in as many calls as that takes.
  bool SendAll(DatagramPort& port, absl::Span<Datagram> burst) {
    return Until([&] {
      burst.remove_prefix(port.Send(burst));
      return burst.empty();
    });
  }
};

INSTANTIATE_TEST_SUITE_P(Datagrams, DatagramGatherConformance,
                         testing::ValuesIn(AdaptersWith(&Capabilities::datagrams)), AdapterName);

TEST_P(DatagramGatherConformance, PortsSayWhatTheirTransportSays) {
  EXPECT_EQ(OpenPort(0)->capabilities().gather, gathers());
  // What a decorator sees are whole messages.
  if (GetParam().decorated) {
    EXPECT_FALSE(gathers());
  }
}

TEST_P(DatagramGatherConformance, TailsFollowTheBufferInEverySize) {
  if (!gathers()) GTEST_SKIP() << "takes no tails";
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  const Peer to = PeerAt(*a, *b);
  uint64_t messages = 0, bytes = 0;
  for (const size_t head : {size_t{0}, size_t{1}, size_t{44}, size_t{300}, max_payload() - 1}) {
    std::vector<size_t> tails = {max_payload() - head};
    for (size_t size = 1; size < max_payload() - head; size *= 3) tails.push_back(size);
    for (const size_t tail : tails) {
      const std::string first = RandomBytes(head, head);
      const std::string second = RandomBytes(tail, ~tail);
      Datagram out[] = {Message(a->pool(), to, first)};
      Datagram in[] = {Message(b->pool(), to, "old")};
      in[0].tail = BytesOf(first);
      out[0].tail = BytesOf(second);
      ASSERT_TRUE(SendAll(*a, absl::MakeSpan(out)));
      EXPECT_FALSE(out[0].buffer);
      EXPECT_TRUE(out[0].tail.empty());
      ASSERT_TRUE(Until([&] { return b->Receive(absl::MakeSpan(in)) == 1; })) << head << tail;
      ASSERT_EQ(TextOf(in[0].buffer), first + second) << head << " and " << tail;
      EXPECT_TRUE(in[0].tail.empty());
      ++messages;
      bytes += head + tail;
    }
  }
  EXPECT_EQ(a->stats().sent, messages);
  EXPECT_EQ(a->stats().sent_bytes, bytes);
  EXPECT_EQ(b->stats().received_bytes, bytes);
  EXPECT_EQ(a->stats().send_failed, 0u);
  // Not one more than without tails.
  EXPECT_EQ(a->stats().copied_buffers, messages * GetParam().copies_per_send);
  EXPECT_EQ(a->stats().copied_bytes, bytes * GetParam().copies_per_send);
}

// Slices of one message, as they are sent by somebody who has it in memory, and others between.
TEST_P(DatagramGatherConformance, BurstsMayMixMessagesWithTailsAndWithout) {
  if (!gathers()) GTEST_SKIP() << "takes no tails";
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  const Peer to = PeerAt(*a, *b);
  const std::string large = RandomBytes(200 * 300, 1);
  for (const bool equal : {true, false}) {
    std::vector<Datagram> burst;
    std::vector<std::string> expected;
    for (size_t i = 0; i < 200; ++i) {
      const std::string head = RandomBytes(44, i);
      const size_t size = i % 7 == 3 || i == 199 ? 0 : equal ? 300 : 1 + 37 * i % 300;
      burst.push_back(Message(a->pool(), to, head));
      burst.back().tail = BytesOf(large).subspan(300 * i, size);
      expected.push_back(head + large.substr(300 * i, size));
    }
    absl::Span<Datagram> rest = absl::MakeSpan(burst);
    std::vector<std::string> got;
    EXPECT_TRUE(Until([&] {
      rest.remove_prefix(a->Send(rest));
      std::vector<Datagram> in(64);
      const size_t n = b->Receive(absl::MakeSpan(in));
      for (size_t i = 0; i < n; ++i) got.push_back(TextOf(in[i].buffer));
      return got.size() == expected.size();
    })) << got.size();
    for (const Datagram& d : burst) EXPECT_TRUE(!d.buffer && d.tail.empty());
    if (!transport().capabilities().ordered) {
      std::sort(got.begin(), got.end());
      std::sort(expected.begin(), expected.end());
    }
    EXPECT_EQ(got, expected);
  }
}

TEST_P(DatagramGatherConformance, WhatIsNotAcceptedKeepsItsTail) {
  if (!gathers()) GTEST_SKIP() << "takes no tails";
  ReopenWithBuffers(512);
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  const Peer to = PeerAt(*a, *b);
  const std::string head = "head";
  const std::string tail = RandomBytes(max_payload() - head.size(), 1);
  std::vector<Datagram> burst;
  for (int round = 0; round < 500; ++round) {
    while (burst.size() < 8) {
      burst.push_back(Message(a->pool(), to, head));
      ASSERT_TRUE(burst.back().buffer);
      burst.back().tail = BytesOf(tail);
    }
    const size_t n = a->Send(absl::MakeSpan(burst));
    for (size_t i = 0; i < burst.size(); ++i) {
      ASSERT_EQ(static_cast<bool>(burst[i].buffer), i >= n);
      ASSERT_EQ(burst[i].tail.data(), i < n ? nullptr : BytesOf(tail).data());
      ASSERT_EQ(burst[i].tail.size(), i < n ? 0 : tail.size());
      if (i >= n) {
        ASSERT_EQ(TextOf(burst[i].buffer), head);
      }
    }
    burst.erase(burst.begin(), burst.begin() + static_cast<ptrdiff_t>(n));
  }
  burst.clear();
  Datagram in[32];
  ASSERT_TRUE(Until([&] { return b->Receive(absl::MakeSpan(in)) > 0; }));
  EXPECT_EQ(TextOf(in[0].buffer), head + tail);
}

// Too long in all; and any tail, where there is no gathering.
TEST_P(DatagramGatherConformance, TailsThatCannotBeSentAreDroppedAndCounted) {
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  const Peer to = PeerAt(*a, *b);
  const std::string tail = RandomBytes(gathers() ? max_payload() : 10, 1);
  std::vector<Datagram> burst;
  burst.push_back(Message(a->pool(), to, "first"));
  burst.push_back(Message(a->pool(), to, "x"));
  burst.back().tail = BytesOf(tail);
  burst.push_back({to, Buffer(), BytesOf(tail)});
  burst.push_back(Message(a->pool(), Peer{}, ""));
  burst.back().tail = BytesOf(tail);
  burst.push_back(Message(a->pool(), to, "last"));
  ASSERT_TRUE(SendAll(*a, absl::MakeSpan(burst)));
  for (const Datagram& d : burst) EXPECT_TRUE(!d.buffer && d.tail.empty());
  EXPECT_EQ(a->stats().send_failed, 3u);
  EXPECT_EQ(a->stats().sent, 2u);
  const Datagram first = Receive(*b);
  const Datagram last = Receive(*b);
  ASSERT_TRUE(first.buffer && last.buffer);
  EXPECT_EQ(first.buffer.size() + last.buffer.size(), 9u);
}

TEST_P(DatagramGatherConformance, AMessageOfTheLargestPayloadToAPeerArrives) {
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  const Peer to = PeerAt(*a, *b);
  ExpectTheyTalk(*a, *b);
  for (const auto& [port, peer] : {std::pair{a.get(), to}, {b.get(), PeerAt(*b, *a)}}) {
    const size_t size = port->MaxPayloadTo(peer);
    ASSERT_LE(size, port->capabilities().max_payload_bytes);
    ASSERT_GE(size, std::min<size_t>(port->capabilities().max_payload_bytes, 500));
    EXPECT_LE(port->MaxPayloadTo(Peer{}), port->capabilities().max_payload_bytes);
    const std::string bytes = RandomBytes(size, 1);
    ASSERT_TRUE(Send(*port, peer, bytes));
    const Datagram got = Receive(port == a.get() ? *b : *a);
    ASSERT_TRUE(got.buffer);
    EXPECT_EQ(TextOf(got.buffer), bytes);
  }
}

}  // namespace
}  // namespace weft
