// SPDX-License-Identifier: Apache-2.0
//
// What datagram_port.h promises.
#include "weft/transports/conformance/datagram_conformance.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace weft {
namespace {

class DatagramConformance : public DatagramTest {};

INSTANTIATE_TEST_SUITE_P(Datagrams, DatagramConformance,
                         testing::ValuesIn(AdaptersWith(&Capabilities::datagrams)), AdapterName);

TEST_P(DatagramConformance, CapabilitiesOfThePort) {
  auto port = OpenPort(0);
  const Capabilities& capabilities = port->capabilities();
  EXPECT_EQ(capabilities.max_payload_bytes, max_payload());
  EXPECT_EQ(capabilities.reliable, transport().capabilities().reliable);
  EXPECT_EQ(capabilities.ordered, transport().capabilities().ordered);
  EXPECT_EQ(port->wait_fd() >= 0, capabilities.can_wait);
  const Buffer buffer = port->pool().Allocate();
  ASSERT_TRUE(buffer);
  EXPECT_GE(buffer.headroom(), capabilities.headroom_bytes);
  EXPECT_GE(buffer.tailroom(), capabilities.max_payload_bytes);
  EXPECT_TRUE(port->status().ok());
}

TEST_P(DatagramConformance, AddressesAndPeersCorrespond) {
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  const Address address = b->local_address();
  EXPECT_EQ(*Address::Parse(address.ToString()), address);
  EXPECT_TRUE(!address.is_ip() || address.port() != 0);
  EXPECT_NE(address, a->local_address());
  const Peer peer = PeerAt(*a, *b);
  EXPECT_TRUE(peer);
  EXPECT_EQ(peer, PeerAt(*a, *b));
  EXPECT_EQ(*a->AddressOf(peer), address);
  EXPECT_FALSE(a->AddressOf(Peer{}).ok());
}

TEST_P(DatagramConformance, APortWithoutAnAddressCanBeRepliedTo) {
  auto server = OpenPort(0);
  auto client = *transport(1).OpenDatagramPort({});
  ExpectTheyTalk(*client, *server);
}

TEST_P(DatagramConformance, EverySizeArrivesAsItWas) {
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  const Peer to = PeerAt(*a, *b);
  std::vector<size_t> sizes = {0};
  for (size_t size = 1; size < max_payload(); size *= 2) {
    for (const size_t near : {size - 1, size, size + 1}) {
      if (near > 0 && near < max_payload()) sizes.push_back(near);
    }
  }
  sizes.push_back(max_payload() - 1);
  sizes.push_back(max_payload());
  for (const size_t size : sizes) {
    const std::string bytes = RandomBytes(size, size);
    ASSERT_TRUE(Send(*a, to, bytes));
    const Datagram got = Receive(*b);
    ASSERT_TRUE(got.buffer) << size << " bytes did not arrive";
    ASSERT_EQ(TextOf(got.buffer), bytes);
    EXPECT_EQ(*b->AddressOf(got.peer), a->local_address());
  }
  EXPECT_EQ(a->stats().sent, sizes.size());
  EXPECT_EQ(b->stats().received, sizes.size());
  EXPECT_EQ(a->stats().sent_bytes, b->stats().received_bytes);
  EXPECT_EQ(a->stats().send_failed, 0u);
}

TEST_P(DatagramConformance, BurstsMayBeLargerThanTheBestSize) {
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  const Peer to = PeerAt(*a, *b);
  const size_t n = 2 * transport().capabilities().max_burst + 1;
  std::vector<Datagram> burst;
  for (size_t i = 0; i < n; ++i) burst.push_back(Message(a->pool(), to, absl::StrCat(i)));
  absl::Span<Datagram> rest = absl::MakeSpan(burst);
  std::vector<std::string> got;
  EXPECT_TRUE(Until([&] {
    rest.remove_prefix(a->Send(rest));
    std::vector<Datagram> in(3 * n);
    for (size_t left = b->Receive(absl::MakeSpan(in)), i = 0; i < left; ++i) {
      got.push_back(TextOf(in[i].buffer));
    }
    return got.size() == n;
  })) << got.size()
      << " of " << n;
  if (!transport().capabilities().ordered) std::sort(got.begin(), got.end());
  std::vector<std::string> expected;
  for (size_t i = 0; i < n; ++i) expected.push_back(absl::StrCat(i));
  if (!transport().capabilities().ordered) std::sort(expected.begin(), expected.end());
  EXPECT_EQ(got, expected);
  EXPECT_EQ(a->Send({}), 0u);
  EXPECT_EQ(b->Receive({}), 0u);
}

// Elements that still hold the last burst's buffers give them back, or the pool would run dry.
TEST_P(DatagramConformance, ReceiveReleasesWhatTheElementsHeld) {
  ReopenWithBuffers(512);
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  const Peer to = PeerAt(*a, *b);
  Datagram in[4];
  for (int i = 0; i < 1500; ++i) {
    ASSERT_TRUE(Send(*a, to, "text"));
    ASSERT_TRUE(Until([&] { return b->Receive(absl::MakeSpan(in)) > 0; })) << i;
  }
  EXPECT_EQ(b->stats().receive_dropped, 0u);
}

TEST_P(DatagramConformance, BuffersOfAnyOriginAndShapeAreSent) {
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  const Peer to = PeerAt(*a, *b);
  BufferPool foreign({.count = 4, .bytes = 256, .headroom = 0});
  std::vector<Datagram> burst;
  burst.push_back(Message(foreign, to, "foreign pool"));
  burst.push_back(Message(a->pool(), to, "trimmed"));
  burst.back().buffer.TrimFront(4);
  burst.push_back(Message(a->pool(), to, "tail"));
  std::memcpy(burst.back().buffer.Prepend(5), "head ", 5);
  burst.push_back(Message(a->pool(), to, "short"));
  burst.back().buffer.TrimBack(2);
  absl::Span<Datagram> rest = absl::MakeSpan(burst);
  ASSERT_TRUE(Until([&] {
    rest.remove_prefix(a->Send(rest));
    return rest.empty();
  }));
  std::vector<std::string> got;
  for (int i = 0; i < 4; ++i) {
    const Datagram d = Receive(*b);
    ASSERT_TRUE(d.buffer);
    got.push_back(TextOf(d.buffer));
  }
  std::sort(got.begin(), got.end());
  EXPECT_EQ(got, (std::vector<std::string>{"foreign pool", "head tail", "med", "sho"}));
}

TEST_P(DatagramConformance, AReceivedBufferMayBeSentBack) {
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  for (int i = 0; i < 100; ++i) {
    const std::string text = absl::StrCat("message ", i);
    ASSERT_TRUE(Send(*a, PeerAt(*a, *b), text));
    Datagram echo[] = {Receive(*b)};
    ASSERT_TRUE(echo[0].buffer);
    ASSERT_TRUE(Until([&] { return b->Send(absl::MakeSpan(echo)) == 1; }));
    const Datagram reply = Receive(*a);
    ASSERT_TRUE(reply.buffer);
    EXPECT_EQ(TextOf(reply.buffer), text);
    EXPECT_EQ(reply.peer, PeerAt(*a, *b));
  }
}

TEST_P(DatagramConformance, SeveralPeersAreToldApart) {
  auto server = OpenPort(0);
  std::vector<std::unique_ptr<DatagramPort>> clients;
  for (size_t i = 0; i < 6; ++i) {
    clients.push_back(OpenPort(1 + i));
    ASSERT_TRUE(Send(*clients[i], PeerAt(*clients[i], *server), absl::StrCat("from ", i)));
  }
  std::map<std::string, Peer> peers;
  for (size_t i = 0; i < clients.size(); ++i) {
    const Datagram d = Receive(*server);
    ASSERT_TRUE(d.buffer);
    peers[TextOf(d.buffer)] = d.peer;
  }
  ASSERT_EQ(peers.size(), clients.size());
  for (size_t i = 0; i < clients.size(); ++i) {
    const Peer& peer = peers[absl::StrCat("from ", i)];
    EXPECT_EQ(*server->AddressOf(peer), clients[i]->local_address());
    ASSERT_TRUE(Send(*server, peer, absl::StrCat("to ", i)));
  }
  for (size_t i = 0; i < clients.size(); ++i) {
    const Datagram d = Receive(*clients[i]);
    ASSERT_TRUE(d.buffer);
    EXPECT_EQ(TextOf(d.buffer), absl::StrCat("to ", i));
  }
}

TEST_P(DatagramConformance, WhatCanNeverBeSentIsDroppedAndCounted) {
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  const Peer to = PeerAt(*a, *b);
  BufferPool large({.count = 4, .bytes = max_payload() + 4096});
  std::vector<Datagram> burst;
  burst.push_back(Message(a->pool(), to, "first"));
  burst.push_back(Message(large, to, std::string(max_payload() + 1, 'x')));
  burst.push_back(Message(large, Peer{}, "to nobody"));
  burst.push_back({to, Buffer()});
  burst.push_back(Message(a->pool(), to, "last"));
  absl::Span<Datagram> rest = absl::MakeSpan(burst);
  ASSERT_TRUE(Until([&] {
    rest.remove_prefix(a->Send(rest));
    return rest.empty();
  }));
  for (const Datagram& d : burst) EXPECT_FALSE(d.buffer);
  EXPECT_EQ(a->stats().send_failed, 3u);
  EXPECT_EQ(a->stats().sent, 2u);
  const Datagram first = Receive(*b);
  ASSERT_TRUE(first.buffer);
  const Datagram last = Receive(*b);
  ASSERT_TRUE(last.buffer);
  EXPECT_EQ(TextOf(first.buffer).size() + TextOf(last.buffer).size(), 9u);
}

TEST_P(DatagramConformance, AddressesOfOtherTransportsAreRefused) {
  auto port = OpenPort(0);
  for (const Address& foreign : ForeignAddresses()) {
    EXPECT_EQ(port->Resolve(foreign).status().code(), absl::StatusCode::kInvalidArgument)
        << foreign.ToString();
    const absl::Status status = transport().OpenDatagramPort({.local = foreign}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  }
  EXPECT_EQ(port->Resolve(Address()).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_P(DatagramConformance, AnAddressInUseIsRefused) {
  auto port = OpenPort(0);
  const absl::Status status =
      transport().OpenDatagramPort({.local = port->local_address()}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists) << status;
  // And free again afterwards.
  const Address address = port->local_address();
  port.reset();
  const auto again = transport().OpenDatagramPort({.local = address});
  EXPECT_TRUE(again.ok()) << again.status();
}

TEST_P(DatagramConformance, APeerThatHasGoneIsHarmless) {
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  auto leaver = OpenPort(2);
  const Peer gone = PeerAt(*a, *leaver);
  ExpectTheyTalk(*a, *leaver);
  leaver.reset();
  Datagram in[4];
  for (int i = 0; i < 50; ++i) {
    Datagram out[] = {Message(a->pool(), gone, "anybody there?")};
    ASSERT_TRUE(out[0].buffer);
    a->Send(absl::MakeSpan(out));
    a->Receive(absl::MakeSpan(in));
    (void)a->AddressOf(gone);
  }
  ExpectTheyTalk(*a, *b);
  PortEvent events[8];
  for (size_t n; (n = a->TakeEvents(absl::MakeSpan(events))) > 0;) {
    for (const PortEvent& event : absl::MakeSpan(events, n)) {
      // A link that is joined at both ends only now may still be coming up, and be lost once more
      // while the ends agree on their features.
      const bool of_the_link =
          event.kind == PortEvent::Kind::kLinkUp || event.kind == PortEvent::Kind::kLinkDown;
      EXPECT_TRUE(of_the_link || event.peer == gone);
    }
  }
  EXPECT_TRUE(a->status().ok()) << a->status();
}

TEST_P(DatagramConformance, AnEmptyPoolLosesMessagesAtMost) {
  ReopenWithBuffers(256);
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  const Peer to = PeerAt(*a, *b);
  ExpectTheyTalk(*a, *b);
  // A device may want more buffers than it was given, for those that it works on.
  const size_t count = b->pool().count();
  // All that the receiver gets, it keeps.
  std::vector<Datagram> kept;
  const uint64_t before = b->stats().received;
  size_t accepted = 0;
  for (size_t i = 0; i < 2 * count; ++i) {
    Datagram out[] = {Message(a->pool(), to, "text")};
    if (out[0].buffer) accepted += a->Send(absl::MakeSpan(out));
    Datagram in[1];
    while (b->Receive(absl::MakeSpan(in)) == 1) kept.push_back(std::move(in[0]));
    if (GetParam().work) GetParam().work();
    if (is_virtual()) Until([] { return false; });
  }
  // A device may be slow to bring the first ones.
  EXPECT_TRUE(Until([&] {
    Datagram in[1];
    while (b->Receive(absl::MakeSpan(in)) == 1) kept.push_back(std::move(in[0]));
    return kept.size() > 100;
  })) << kept.size();
  EXPECT_LE(kept.size(), count);
  const size_t received = before + kept.size();
  kept.clear();
  // The port works again, at once. Only a sender that says that it has dropped what it was given
  // now, as too much waits before it, is let get rid of that first.
  const uint64_t dropped = a->stats().send_failed;
  Datagram next[] = {Message(a->pool(), to, "next")};
  if (next[0].buffer) accepted += a->Send(absl::MakeSpan(next));
  if (a->stats().send_failed != dropped) {
    size_t more = 0;
    int idle = 0;
    Until([&] {
      Datagram rest[1];
      const size_t n = b->Receive(absl::MakeSpan(rest));
      more += n;
      idle = n == 0 ? idle + 1 : 0;
      return idle >= 1000;
    });
    EXPECT_GT(more, 0u);
  }
  // What it could not take was left where it was, or counted.
  ExpectTheyTalk(*a, *b);
  EXPECT_GE(b->stats().received, received);
  const uint64_t sent = before + accepted + 1;
  EXPECT_LE(b->stats().received + b->stats().receive_dropped, sent);
  if (transport().capabilities().reliable) {
    EXPECT_EQ(b->stats().received + b->stats().receive_dropped, sent);
  }

  // The sender's pool.
  std::vector<Buffer> all;
  while (Buffer buffer = a->pool().Allocate()) all.push_back(std::move(buffer));
  Datagram in[8];
  EXPECT_EQ(a->Receive(absl::MakeSpan(in)), 0u);
  all.clear();
  ExpectTheyTalk(*a, *b);
}

// A sender that never stops, and a receiver that does not poll: nothing blocks, grows or is lost
// track of, and when it polls again they go on.
TEST_P(DatagramConformance, FloodingSomebodyWhoDoesNotPoll) {
  ReopenWithBuffers(512);
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  const Peer to = PeerAt(*a, *b);
  const std::string text = RandomBytes(max_payload(), 1);
  size_t accepted = 0;
  std::vector<Datagram> burst;
  for (int round = 0; round < 2000; ++round) {
    while (burst.size() < 8) {
      burst.push_back(Message(a->pool(), to, text));
      ASSERT_TRUE(burst.back().buffer) << "the port keeps buffers that it was given";
    }
    const size_t n = a->Send(absl::MakeSpan(burst));
    ASSERT_LE(n, burst.size());
    for (size_t i = 0; i < burst.size(); ++i) {
      ASSERT_EQ(static_cast<bool>(burst[i].buffer), i >= n);
      if (i >= n) {
        ASSERT_EQ(TextOf(burst[i].buffer), text);
        ASSERT_EQ(burst[i].peer, to);
      }
    }
    burst.erase(burst.begin(), burst.begin() + static_cast<ptrdiff_t>(n));
    accepted += n;
  }
  burst.clear();
  EXPECT_GT(accepted, 0u);
  EXPECT_EQ(accepted, a->stats().sent + a->stats().send_failed);
  Datagram in[32];
  int idle = 0;
  Until([&] {
    const size_t n = b->Receive(absl::MakeSpan(in));
    for (const Datagram& d : absl::MakeSpan(in, n)) EXPECT_EQ(d.buffer.size(), text.size());
    idle = n == 0 ? idle + 1 : 0;
    return idle >= 100 && b->stats().received > 0;
  });
  EXPECT_GT(b->stats().received, 0u);
  ExpectTheyTalk(*a, *b);
}

TEST_P(DatagramConformance, CopiesAreThoseThatAreDocumented) {
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  const Peer to = PeerAt(*a, *b);
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(Send(*a, to, "12345"));
    ASSERT_TRUE(Receive(*b).buffer);
  }
  EXPECT_EQ(a->stats().copied_buffers, 20 * GetParam().copies_per_send);
  EXPECT_EQ(a->stats().copied_bytes, 5 * a->stats().copied_buffers);
  EXPECT_EQ(b->stats().copied_buffers, 20 * GetParam().copies_per_receive);
  EXPECT_EQ(b->stats().copied_bytes, 5 * b->stats().copied_buffers);
}

TEST_P(DatagramConformance, PortsLeaveNothingBehind) {
  { auto warm_up = OpenPort(0); }
  const size_t files = OpenFiles();
  // Some devices take a second to find each other.
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  for (int i = 0; i < 50 && (i < 3 || std::chrono::steady_clock::now() < end); ++i) {
    auto a = OpenPort(0);
    auto b = OpenPort(1);
    ASSERT_NE(a, nullptr);
    ASSERT_NE(b, nullptr);
    ExpectTheyTalk(*a, *b);
  }
  // A device may close what a peer left to it on a thread of its own.
  EXPECT_TRUE(Until([&] { return OpenFiles() <= files; })) << OpenFiles() << " of " << files;
}

TEST_P(DatagramConformance, APortMayMoveToAnotherThread) {
  if (is_virtual()) GTEST_SKIP() << "one thread is all there is in virtual time";
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  ExpectTheyTalk(*a, *b);
  std::thread([&] {
    a->BindToThisThread();
    b->BindToThisThread();
    ExpectTheyTalk(*a, *b);
    a.reset();
    b.reset();
  }).join();
}

// A message that arrives on the way to sleep wakes the sleeper: each is sent only after the one
// before has been received, so a lost wake-up stops the exchange.
TEST_P(DatagramConformance, NoWakeUpIsLost) {
  if (!transport().capabilities().can_wait) GTEST_SKIP() << "ports cannot be waited for";
  constexpr int kRounds = 1000;
  auto server = OpenPort(0);
  const Address address = server->local_address();
  Transport& client_transport = transport(1);
  std::atomic<bool> failed{false};
  const auto receive = [&](DatagramPort& port) {
    Datagram in[1];
    while (port.Receive(absl::MakeSpan(in)) == 0) {
      if (failed.load() || !WaitFor(port)) {
        failed.store(true);
        return Datagram();
      }
    }
    return std::move(in[0]);
  };
  std::thread client_thread([&] {
    auto client = *client_transport.OpenDatagramPort({});
    const Peer to = *client->Resolve(address);
    for (int i = 0; i < kRounds && !failed.load(); ++i) {
      Datagram out[] = {Message(client->pool(), to, absl::StrCat(i))};
      while (client->Send(absl::MakeSpan(out)) == 0) std::this_thread::yield();
      if (Datagram reply = receive(*client); reply.buffer) {
        EXPECT_EQ(TextOf(reply.buffer), absl::StrCat(i));
      }
    }
  });
  for (int i = 0; i < kRounds && !failed.load(); ++i) {
    Datagram echo[] = {receive(*server)};
    if (!echo[0].buffer) break;
    while (server->Send(absl::MakeSpan(echo)) == 0) std::this_thread::yield();
  }
  client_thread.join();
  EXPECT_FALSE(failed.load()) << "waited for nothing";
}

TEST_P(DatagramConformance, AnIdlePortLetsItsThreadSleep) {
  if (!transport().capabilities().can_wait) GTEST_SKIP() << "ports cannot be waited for";
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  ExpectTheyTalk(*a, *b);
  // Polled, a port comes to rest: armed and not readable.
  Datagram in[4];
  PortEvent events[4];
  EXPECT_TRUE(Until([&] {
    b->Receive(absl::MakeSpan(in));
    b->TakeEvents(absl::MakeSpan(events));
    if (!b->Arm()) return false;
    pollfd fd = {b->wait_fd(), POLLIN, 0};
    const bool quiet = ::poll(&fd, 1, 0) == 0;
    b->Disarm();
    return quiet;
  }));
}

}  // namespace
}  // namespace weft
