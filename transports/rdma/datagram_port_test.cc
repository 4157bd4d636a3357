// SPDX-License-Identifier: Apache-2.0
//
// One port over a simulated device: what becomes of the device's events and of what strangers send,
// and what a datagram costs.
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/allocation_counter.h"
#include "weft/core/prng.h"
#include "weft/transports/rdma/datagram_fixture.h"
#include "weft/transports/rdma/rendezvous_wire.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rdma {
namespace {

TEST(DatagramPort, EventsOfTheDevice) {
  sim::Network network(1);
  End a(&network, "a"), b(&network, "b");
  ASSERT_TRUE(a.Send("b", "hello"));
  ASSERT_TRUE(Pass(network, {&a, &b}, 100 * kMs, [&] { return b.texts.size() == 1; }));
  b.nic().SetLink(false);
  a.Send("b", "lost");
  Pass(network, {&a, &b}, 50 * kMs);
  EXPECT_EQ(b.Count(PortEvent::Kind::kLinkDown), 1u);
  b.nic().SetLink(true);
  a.Send("b", "hello again");
  EXPECT_TRUE(Pass(network, {&a, &b}, 300 * kMs, [&] { return b.texts.size() >= 2; }));
  EXPECT_EQ(b.Count(PortEvent::Kind::kLinkUp), 1u);
  b.nic().Remove();
  Pass(network, {&b}, 5 * kMs);
  EXPECT_EQ(b.port().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(b.Send("a", "from the dead"));
  a.nic().FailQueue(a.port().queue().qpn);
  Pass(network, {&a}, 5 * kMs);
  EXPECT_FALSE(a.port().status().ok());
}

TEST(DatagramPort, TheLastEventOfTheLinkIsHowItIs) {
  sim::Network network(1);
  End a(&network, "a");
  for (const bool up : {false, true, false}) {
    a.nic().SetLink(up);
    Datagram none[1];
    network.AdvanceTo(network.NowNs() + kMs);
    EXPECT_EQ(a.port().Receive(absl::MakeSpan(none)), 0u);
  }
  a.Poll();
  ASSERT_FALSE(a.seen.empty());
  EXPECT_EQ(a.seen.back().kind, PortEvent::Kind::kLinkDown);
}

// However many slots the port has: only what may come goes through the processor's caches.
TEST(DatagramPort, ReceivesArePostedForWhatPeersMaySend) {
  sim::Network network(1);
  End a(&network, "a", ConfigOf(64, 16, 1024)), b(&network, "b", ConfigOf(256, 16, 1024));
  const SlotShares& shares = b.port().shares();
  const auto posted = [&b] {
    const UdQueue::Counts counts = b.port().counts();
    return counts.receive_posts - counts.receive_completions;
  };
  EXPECT_EQ(posted(), shares.margin());
  uint32_t promised = shares.margin();
  for (int burst = 0; burst < 4; ++burst) {
    for (int i = 0; i < 40; ++i) a.Send("b", "hello");
    ASSERT_TRUE(Pass(network, {&a, &b}, 100 * kMs, [&] { return b.texts.size() == 40; }));
    b.texts.clear();
    EXPECT_GE(shares.margin() + shares.outstanding(), promised);  // as the window grows
    promised = shares.margin() + shares.outstanding();
    EXPECT_LE(posted(), promised);
    EXPECT_GT(posted() + RdmaDatagramPort::kPostBatch, promised);
  }
  EXPECT_GT(promised, shares.margin() + SlotShares::kFirstWindow);
  b.ExpectNothingIsLost();
}

// Headers have 16 bits of what is counted.
TEST(DatagramPort, MoreDatagramsThanAHeaderCanCount) {
  constexpr size_t kBurst = 8;
  constexpr size_t kBursts = 70'000 / kBurst;
  sim::Network network(1);
  End a(&network, "a"), b(&network, "b");
  b.echo = true;
  const Peer to = a.PeerOf("b");
  for (size_t burst = 0; burst < kBursts; ++burst) {
    for (size_t i = 0; i < kBurst; ++i) ASSERT_TRUE(a.Send(to, "x"));
    ASSERT_TRUE(Pass(network, {&a, &b}, 100 * kMs, [&] { return a.texts.size() == kBurst; }))
        << "burst " << burst;
    a.texts.clear();
    b.texts.clear();
  }
  for (End* end : {&a, &b}) {
    EXPECT_EQ(end->port().stats().receive_malformed, 0u);
    EXPECT_EQ(end->port().port_counts().late, 0u);
    EXPECT_EQ(end->port().port_counts().connections, 1u);
    end->ExpectNothingIsLost();
  }
}

// Zeros are what stands in places where there is no connection.
TEST(DatagramPort, NobodySpeaksForAPeerThatHasNoConnection) {
  sim::Network network(1);
  End b(&network, "b");
  auto a = std::make_unique<End>(&network, "a");
  ASSERT_TRUE(a->Send("b", "hello"));
  ASSERT_TRUE(Pass(network, {a.get(), &b}, 100 * kMs, [&] { return b.texts.size() == 1; }));
  a.reset();
  ASSERT_TRUE(Pass(network, {&b}, 100 * kMs, [&] { return !b.seen.empty(); }));
  auto nic = *SimNic::Open(&network, Address::Sim("a"));
  const QueueAddress to = b.port().queue();
  for (const uint16_t sequence : {0, 5, 0xffff}) {
    uint8_t bytes[kHeaderBytes];
    WriteHeader({.number = 0, .sequence = sequence, .edge = 100}, bytes);
    nic->Transmit(to.gid, to.qpn, /*from_qpn=*/0, to.qkey, bytes);
    Pass(network, {&b}, kMs);
  }
  EXPECT_EQ(b.texts.size(), 1u);
  EXPECT_EQ(b.port().port_counts().stray, 3u);
  const uint64_t sent = b.nic().stats().ud_sent;
  b.Send("a", "is nobody there?");
  Pass(network, {&b}, 10 * kMs);
  EXPECT_EQ(b.nic().stats().ud_sent, sent);
}

// Somebody who knows the queue's number and key, and nothing else that he should.
TEST(DatagramPort, StrangersAndLiarsAreCountedAndDropped) {
  sim::Network network(1);
  End a(&network, "a"), b(&network, "b");
  ASSERT_TRUE(a.Send("b", "hello"));
  ASSERT_TRUE(Pass(network, {&a, &b}, 100 * kMs, [&] { return b.texts.size() == 1; }));
  auto nic = *SimNic::Open(&network, Address::Sim("stranger"));
  const QueueAddress to = b.port().queue();
  Prng random(1);
  for (int i = 0; i < 2000; ++i) {
    uint8_t bytes[64];
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.Next());
    if (i % 2 == 0) {
      WriteHeader({.number = static_cast<uint32_t>(random.Below(4)) << PeerTable::kIndexBits,
                   .edge = static_cast<uint16_t>(random.Next())},
                  bytes);
    }
    nic->Transmit(to.gid, to.qpn, 77, to.qkey, absl::MakeSpan(bytes, random.Below(65)));
    Pass(network, {&a, &b}, 20'000);
  }
  EXPECT_EQ(b.texts.size(), 1u);
  EXPECT_EQ(b.port().stats().receive_malformed + b.port().port_counts().stray, 2000u);
  ASSERT_TRUE(a.Send("b", "still there?"));
  EXPECT_TRUE(Pass(network, {&a, &b}, 100 * kMs, [&] { return b.texts.size() == 2; }));
}

// The same at the place where peers meet: messages that are cut, changed, and made up.
TEST(DatagramPort, NonsenseAtTheRendezvousIsCountedAndDropped) {
  sim::Network network(1);
  End a(&network, "a"), b(&network, "b");
  auto transport = sim::OpenTransport(&network, {.count = 64, .bytes = 768});
  auto stranger = *transport->OpenDatagramPort({.local = Address::Sim("stranger")});
  const Peer to = *stranger->Resolve(b.address());
  Prng random(1);
  for (int i = 0; i < 500; ++i) {
    RendezvousMessage message = {.id = 1};
    message.kind = static_cast<RendezvousMessage::Kind>(1 + random.Below(4));
    message.offer.incarnation = 5;
    message.code = 8;
    uint8_t bytes[RendezvousMessage::kMaxBytes];
    size_t size = WriteRendezvous(message, absl::MakeSpan(bytes));
    if (i % 2 == 0) size -= 1 + random.Below(size);
    if (i % 2 == 1) bytes[random.Below(6)] ^= 0x80;
    Datagram out[] = {{to, stranger->pool().Allocate()}};
    std::memcpy(out[0].buffer.Append(size), bytes, size);
    ASSERT_EQ(stranger->Send(absl::MakeSpan(out)), 1u);
    Pass(network, {&a, &b}, kMs / 10);
  }
  EXPECT_EQ(b.port().rendezvous().stats().malformed, 500u);
  // Offers that are well formed and make no sense are refused.
  for (uint32_t i = 0; i < 8; ++i) {
    RendezvousMessage ask = {.id = 10 + i};
    ask.offer = {.service = Offer::Service::kDatagrams,
                 .worker = 0,
                 .path_mtu_bytes = static_cast<uint16_t>(i == 1 ? 3 : 256),
                 .queue = {},
                 .peer_number = i == 3 ? 0u : 77u,
                 .credits = i == 4   ? 0u
                            : i == 5 ? 1u << 30
                                     : 16u,
                 .sequence = i == 6 ? 9u : 0u,
                 .incarnation = 5,
                 .resumes = i == 7};
    ask.offer.queue.qpn = i == 2 ? 0 : 5;
    if (i == 0) continue;
    Datagram out[] = {{to, stranger->pool().Allocate()}};
    uint8_t* const bytes = out[0].buffer.Append(RendezvousMessage::kMaxBytes);
    const size_t size = WriteRendezvous(ask, {bytes, RendezvousMessage::kMaxBytes});
    out[0].buffer.TrimBack(RendezvousMessage::kMaxBytes - size);
    ASSERT_EQ(stranger->Send(absl::MakeSpan(out)), 1u);
    Pass(network, {&a, &b}, kMs);
  }
  EXPECT_EQ(b.port().rendezvous().stats().refused, 7u);
  EXPECT_EQ(b.port().port_counts().connections, 0u);
  ASSERT_TRUE(a.Send("b", "hello"));
  EXPECT_TRUE(Pass(network, {&a, &b}, 100 * kMs, [&] { return b.texts.size() == 1; }));
}

TEST(DatagramPort, SmallMessagesCostFewWorkRequests) {
  sim::Network network(1);
  End a(&network, "a", ConfigOf(256, 4, 512)), b(&network, "b", ConfigOf(256, 4, 512));
  b.echo = true;
  a.Send("b", "first");
  ASSERT_TRUE(Pass(network, {&a, &b}, 100 * kMs, [&] { return a.texts.size() == 1; }));
  const UdQueue::Counts before = a.port().counts();
  constexpr size_t kCalls = 1000;
  for (size_t i = 0; i < kCalls; ++i) {
    ASSERT_TRUE(a.Send("b", "a request of some bytes"));
    ASSERT_TRUE(Pass(network, {&a, &b}, 10 * kMs, [&] { return a.texts.size() == i + 2; }));
  }
  const UdQueue::Counts after = a.port().counts();
  EXPECT_EQ(after.send_posts - before.send_posts, kCalls);
  EXPECT_EQ(after.receive_completions - before.receive_completions, kCalls);
  EXPECT_LE(after.send_completions - before.send_completions, kCalls / 16 + 1);
  EXPECT_LE(after.receive_doorbells - before.receive_doorbells, kCalls / 16 + 1);
  // A burst rings once.
  std::vector<Datagram> burst;
  for (int i = 0; i < 12; ++i) burst.push_back({a.PeerOf("b"), a.port().pool().Allocate()});
  EXPECT_EQ(a.port().Send(absl::MakeSpan(burst)), 12u);
  EXPECT_EQ(a.port().counts().send_doorbells, after.send_doorbells + 1);
}

// Inline ones and long ones. The simulated devices always have something left to send: when one
// begins anew it makes an event, which allocates.
TEST(DatagramPort, DatagramsAllocateNothing) {
  sim::Network network(1);
  SimNicOptions device;
  device.limits.path_mtu_bytes = 256;
  device.work_request_ns = 10'000;
  const auto nic_a = *SimNic::Open(&network, Address::Sim("a"), device);
  const auto nic_b = *SimNic::Open(&network, Address::Sim("b"), device);
  End a(&network, "a", ConfigOf(256, 4, 2048), 0, 1, nic_a.get());
  End b(&network, "b", ConfigOf(256, 4, 2048), 0, 1, nic_b.get());
  ASSERT_TRUE(a.Send("b", "hello"));
  ASSERT_TRUE(Pass(network, {&a, &b}, 10 * kMs, [&] { return b.texts.size() == 1; }));
  const Peer to_b = a.PeerOf("b"), to_a = b.PeerOf("a");
  const std::string texts[] = {"short", std::string(200, 'x'), "also short"};
  int64_t allocations = 0;
  uint64_t received = 0;
  for (int i = 0; i < 3000; ++i) {
    // Two leave a device in each round.
    const int count = i == 0 ? 12 : 2;
    const int64_t before = AllocationsOfThisThread();
    for (int k = 0; k < count; ++k) {
      ASSERT_TRUE(a.Send(to_b, texts[(i + k) % 3]));
      ASSERT_TRUE(b.Send(to_a, texts[(i + k) % 3]));
    }
    Datagram in[8];
    for (End* end : {&a, &b}) {
      received += end->port().Receive(absl::MakeSpan(in));
      for (Datagram& datagram : in) datagram.buffer.Reset();
    }
    if (i >= 1000) allocations += AllocationsOfThisThread() - before;
    network.AdvanceTo(network.NowNs() + 20'000);
    network.timers().Advance(network.NowNs());
  }
  EXPECT_GT(received, 11'000u);
  EXPECT_EQ(a.port().stats().send_failed + b.port().stats().send_failed, 0u);
  EXPECT_LT(a.port().port_counts().waited, 30u);  // at the beginning
  EXPECT_EQ(allocations, 0);
}

}  // namespace
}  // namespace weft::rdma
