// SPDX-License-Identifier: Apache-2.0
//
// Queues of real devices. Runs in the virtual machine: tools/vm/run --net.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "weft/transports/rdma/device.h"
#include "weft/transports/rdma/verbs_test_util.h"
#include "weft/transports/rdma/verbs_ud.h"

namespace weft::rdma {
namespace {

const std::string kFirst = AddressOfEnd(0);
const std::string kSecond = AddressOfEnd(1);

using Kind = RcRequest::Kind;
using Result = RcCompletion::Result;

bool IsReadable(int fd, int timeout_ms) {
  pollfd poller = {fd, POLLIN, 0};
  return poll(&poller, 1, timeout_ms) == 1;
}

// ---- Datagrams ----

struct UdEnd : End {
  std::unique_ptr<UdQueue> queue;

  explicit UdEnd(absl::string_view address, uint32_t send_slots = 64, uint32_t receive_slots = 64)
      : End(address) {
    queue = *completions->OpenUdQueue({.send_slots = send_slots, .receive_slots = receive_slots});
  }
  size_t PostReceives(size_t count) {
    std::vector<Buffer> buffers;
    for (size_t i = 0; i < count; ++i) buffers.push_back(pool.Allocate());
    return queue->PostReceives(absl::MakeSpan(buffers));
  }
  Buffer Message(size_t bytes, uint8_t fill) {
    Buffer buffer = pool.Allocate();
    std::memset(buffer.Append(bytes), fill, bytes);
    return buffer;
  }
  UdSend To(const UdEnd& other, Path path, const Buffer& message, bool signalled = true) const {
    UdSend send;
    send.pieces[0] = PieceOf(message);
    send.signalled = signalled;
    send.path = path;
    send.qpn = other.queue->address().qpn;
    send.qkey = other.queue->address().qkey;
    return send;
  }
  // The next datagram; null if none comes.
  UdReceived Next() {
    UdReceived received;
    Eventually([&] { return queue->Receive(absl::MakeSpan(&received, 1)) == 1; });
    return received;
  }
};

// Every length that matters, with what is seen of the sender.
void ExchangesOver(absl::string_view first, absl::string_view second) {
  UdEnd a(first), b(second);
  ASSERT_EQ(b.PostReceives(16), 16u);
  const Path path = *a.queue->OpenPath(b.queue->address());
  const size_t mtu_bytes = a.nic->limits().path_mtu_bytes;
  const size_t inline_bytes = a.nic->limits().inline_bytes;
  EXPECT_GE(inline_bytes, 64u);
  for (const size_t bytes : {size_t{1}, inline_bytes, inline_bytes + 1, size_t{1500}, mtu_bytes}) {
    const Buffer message = a.Message(bytes, static_cast<uint8_t>(bytes));
    UdSend send = a.To(b, path, message);
    if (bytes > 1) {  // in two places
      send.count = 2;
      send.pieces[1] = send.pieces[0];
      send.pieces[0].bytes = 1;
      send.pieces[1].bytes -= 1;
      send.pieces[1].address += 1;
    }
    ASSERT_EQ(a.queue->Send({send}), 1u);
    const UdReceived received = b.Next();
    ASSERT_TRUE(received.buffer) << bytes << " bytes";
    EXPECT_EQ(received.buffer.bytes(), message.bytes()) << bytes << " bytes";
    EXPECT_EQ(received.qpn, a.queue->address().qpn);
    EXPECT_TRUE(received.has_gid);
    EXPECT_EQ(GidText(received.gid), GidText(a.queue->address().gid));
    ASSERT_TRUE(Eventually([&] { return a.queue->TakeSent() == 1; }));
  }
  EXPECT_TRUE(a.queue->status().ok()) << a.queue->status();
  EXPECT_TRUE(b.queue->status().ok()) << b.queue->status();
}

TEST(VerbsUdTest, ExchangesOverIpv4) { ExchangesOver(kFirst, kSecond); }

TEST(VerbsUdTest, ExchangesOverIpv6) {
  const auto devices = ListDevices();
  ASSERT_TRUE(devices.ok()) << devices.status();
  for (const bool link_local : {true, false}) {
    std::vector<std::string> addresses;
    for (const DeviceInfo& device : *devices) {
      for (const GidEntry& gid : device.ports[0].gids) {
        if (IsIpv4(gid.gid) || (gid.gid.bytes[0] == 0xfe) != link_local) continue;
        addresses.push_back("[" + GidText(gid.gid) + (link_local ? "%" + gid.interface : "") +
                            "]:0");
      }
    }
    if (addresses.empty()) continue;
    SCOPED_TRACE(addresses.front() + " " + addresses.back());
    ExchangesOver(addresses.front(), addresses.back());
  }
}

TEST(VerbsUdTest, ABurstRingsOneDoorbellAndIsSignalledOnce) {
  UdEnd a(kFirst), b(kSecond);
  ASSERT_EQ(b.PostReceives(32), 32u);
  EXPECT_EQ(b.queue->counts().receive_doorbells, 1u);
  const Path path = *a.queue->OpenPath(b.queue->address());
  const Buffer message = a.Message(64, 1);
  std::vector<UdSend> sends;
  for (int i = 0; i < 16; ++i) sends.push_back(a.To(b, path, message, i == 15));
  ASSERT_EQ(a.queue->Send(sends), 16u);
  for (int i = 0; i < 16; ++i) ASSERT_TRUE(b.Next().buffer);
  size_t complete = 0;
  ASSERT_TRUE(Eventually([&] { return (complete += a.queue->TakeSent()) == 16; }));
  EXPECT_EQ(a.queue->counts().send_posts, 16u);
  EXPECT_EQ(a.queue->counts().send_doorbells, 1u);
  EXPECT_EQ(a.queue->counts().send_completions, 1u);
  EXPECT_EQ(b.queue->counts().receive_completions, 16u);
}

TEST(VerbsUdTest, SlotsComeBackThoughNobodyAsksForSignals) {
  UdEnd a(kFirst, /*send_slots=*/32), b(kSecond);
  const Path path = *a.queue->OpenPath(b.queue->address());
  const Buffer message = a.Message(8, 1);
  const std::vector<UdSend> sends(100, a.To(b, path, message, /*signalled=*/false));
  EXPECT_LE(a.queue->Send(sends), 100u);
  size_t sent = 0;
  ASSERT_TRUE(Eventually([&] { return (sent += a.queue->Send({sends[0]})) >= 200; }));
}

TEST(VerbsUdTest, WhatThereIsNoReceiveForIsLostAndHarmsNothing) {
  UdEnd a(kFirst, 64, 64), b(kSecond, 64, 64);
  ASSERT_EQ(b.PostReceives(8), 8u);
  const Path path = *a.queue->OpenPath(b.queue->address());
  const Buffer message = a.Message(100, 7);
  const std::vector<UdSend> sends(64, a.To(b, path, message));
  ASSERT_EQ(a.queue->Send(sends), 64u);
  size_t complete = 0;
  ASSERT_TRUE(Eventually([&] { return (complete += a.queue->TakeSent()) == 64; }));
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(b.Next().buffer);
  ASSERT_EQ(b.PostReceives(70), 64u);  // no more than there are slots
  ASSERT_EQ(a.queue->Send({sends[0]}), 1u);
  EXPECT_TRUE(b.Next().buffer);
  EXPECT_TRUE(b.queue->status().ok());
}

TEST(VerbsUdTest, ForAWrongKeyOrQueueNothingComes) {
  UdEnd a(kFirst), b(kSecond);
  ASSERT_EQ(b.PostReceives(8), 8u);
  const Path path = *a.queue->OpenPath(b.queue->address());
  const Buffer message = a.Message(8, 1);
  UdSend wrong_key = a.To(b, path, message), wrong_queue = wrong_key;
  wrong_key.qkey ^= 1;
  wrong_queue.qpn = 0xfffff0;
  const Buffer last = a.Message(9, 2);
  ASSERT_EQ(a.queue->Send({wrong_key, wrong_queue, a.To(b, path, last)}), 3u);
  EXPECT_EQ(b.Next().buffer.size(), 9u);
}

TEST(VerbsUdTest, APathMayBeClosedWhileItIsUsed) {
  UdEnd a(kFirst), b(kSecond);
  ASSERT_EQ(b.PostReceives(64), 64u);
  const Buffer message = a.Message(2000, 1);
  for (int i = 0; i < 50; ++i) {
    const Path path = *a.queue->OpenPath(b.queue->address());
    EXPECT_EQ(path, 1u);  // the one that was given back
    const UdSend send = a.To(b, path, message, i % 2 == 0);
    ASSERT_EQ(a.queue->Send({send}), 1u);
    a.queue->ClosePath(path);
    a.queue->ClosePath(path);  // of no effect
  }
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(b.Next().buffer) << i;
  EXPECT_TRUE(a.queue->status().ok()) << a.queue->status();
}

TEST(VerbsUdTest, BuffersComeHomeWhenTheQueueEnds) {
  UdEnd a(kFirst), b(kSecond);
  const size_t free = b.pool.available();
  ASSERT_EQ(b.PostReceives(64), 64u);
  const Path path = *a.queue->OpenPath(b.queue->address());
  const Buffer message = a.Message(2000, 1);
  ASSERT_EQ(a.queue->Send(std::vector<UdSend>(40, a.To(b, path, message))), 40u);
  a.queue.reset();  // while sends and receives are under way
  b.queue.reset();
  EXPECT_EQ(b.pool.available(), free);
}

TEST(VerbsUdTest, ASleeperWakesForADatagram) {
  UdEnd a(kFirst), b(kSecond);
  ASSERT_EQ(b.PostReceives(8), 8u);
  const Path path = *a.queue->OpenPath(b.queue->address());
  const Buffer message = a.Message(8, 1);
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(b.completions->Arm());
    EXPECT_FALSE(IsReadable(b.completions->wait_fd(), 0));
    ASSERT_EQ(a.queue->Send({a.To(b, path, message)}), 1u);
    EXPECT_TRUE(IsReadable(b.completions->wait_fd(), 20000));
    EXPECT_FALSE(b.completions->Arm());  // there is something to be had
    b.completions->Disarm();
    EXPECT_TRUE(b.Next().buffer);
  }
}

TEST(VerbsUdTest, WhoWaitsForSlotsWakes) {
  UdEnd a(kFirst, /*send_slots=*/32), b(kSecond);
  const Path path = *a.queue->OpenPath(b.queue->address());
  const Buffer message = a.Message(4000, 1);
  const std::vector<UdSend> sends(4000, a.To(b, path, message, false));
  size_t sent = a.queue->Send(sends);
  ASSERT_TRUE(Eventually([&] {
    if (a.completions->Arm() && sent < sends.size()) {
      EXPECT_TRUE(IsReadable(a.completions->wait_fd(), 20000));
      a.completions->Disarm();
    }
    sent += a.queue->Send(absl::MakeConstSpan(sends).subspan(sent));
    return sent == sends.size();
  }));
}

TEST(VerbsUdTest, RefusesMoreSlotsThanTheDeviceHas) {
  End end(kFirst);
  const auto queue = end.completions->OpenUdQueue({.send_slots = 1u << 30, .receive_slots = 1});
  EXPECT_EQ(queue.status().code(), absl::StatusCode::kInvalidArgument) << queue.status();
}

// ---- The header in front of a datagram ----

TEST(SourceOfTest, ReadsIpv4BehindLeftovers) {
  uint8_t grh[kGrhBytes];
  std::memset(grh, 0x66, sizeof(grh));  // as if version 6 were left from an earlier datagram
  const uint8_t ipv4[20] = {0x45, 0x00, 0x00, 0x54, 0x12, 0x34, 0x40, 0x00, 0x40, 0x11,
                            0x13, 0xc9, 0x0a, 0x4d, 0x00, 0x01, 0x0a, 0x4d, 0x00, 0x02};
  std::memcpy(grh + 20, ipv4, sizeof(ipv4));
  EXPECT_EQ(GidText(SourceOf(grh)), "10.77.0.1");
}

TEST(SourceOfTest, Ipv6IsNotTakenForIpv4) {
  uint8_t grh[kGrhBytes] = {0x60};
  const Gid source = GidOf(*Address::Parse("[2001:db8::1:4511:2233]:0"));
  std::memcpy(grh + 8, source.bytes.data(), 16);
  grh[20] = 0x45;  // within the source's address
  EXPECT_EQ(SourceOf(grh).bytes[12], 0x45);
  EXPECT_FALSE(IsIpv4(SourceOf(grh)));
}

// ---- Connections ----

struct RcPair {
  End a{kFirst}, b{kSecond};
  std::unique_ptr<RcQueue> to_b, to_a;

  explicit RcPair(uint32_t slots = 64) {
    to_b = *a.completions->OpenRcQueue({.slots = slots});
    to_a = *b.completions->OpenRcQueue({.slots = slots});
    EXPECT_TRUE(to_a->Connect(to_b->address()).ok());
    EXPECT_TRUE(to_b->Connect(to_a->address()).ok());
  }
};

Result Wait(CompletionQueue& completions, uint64_t context) {
  RcCompletion completion;
  if (!Eventually([&] { return completions.Poll(absl::MakeSpan(&completion, 1)) == 1; })) {
    ADD_FAILURE() << "no completion of " << context;
    return Result::kError;
  }
  EXPECT_EQ(completion.context, context);
  return completion.result;
}

RcRequest Bind(Window* window, Piece what, uint64_t context = 1) {
  return {.kind = Kind::kBind,
          .context = context,
          .local = what,
          .window = window,
          .remote_read = true,
          .remote_write = true,
          .remote_atomic = true};
}

// Memory of b that a may use.
struct Exposed {
  Buffer buffer;
  std::unique_ptr<Window> window;

  Exposed(RcPair& pair, size_t bytes, uint8_t fill) : buffer(pair.b.pool.Allocate()) {
    std::memset(buffer.Append(bytes), fill, bytes);
    window = *pair.b.nic->OpenWindow();
    EXPECT_EQ(pair.to_a->Post({Bind(window.get(), pair.b.PieceOf(buffer))}), 1u);
    EXPECT_EQ(Wait(*pair.b.completions, 1), Result::kOk);
  }
  RcRequest Request(Kind kind, Piece local, uint64_t context = 2) const {
    RcRequest request;
    request.kind = kind;
    request.context = context;
    request.local = local;
    request.remote_address = reinterpret_cast<uint64_t>(buffer.data());
    request.remote_key = window->remote_key();
    return request;
  }
};

Buffer Room(End& end, size_t bytes) {
  Buffer buffer = end.pool.Allocate();
  std::memset(buffer.Append(bytes), 0, bytes);
  return buffer;
}

TEST(VerbsRcTest, ReadsAndWrites) {
  RcPair pair;
  Exposed exposed(pair, 8000, 0x5a);
  Buffer room = Room(pair.a, 8000);
  ASSERT_EQ(pair.to_b->Post({exposed.Request(Kind::kRead, pair.a.PieceOf(room))}), 1u);
  ASSERT_EQ(Wait(*pair.a.completions, 2), Result::kOk);
  EXPECT_EQ(room.bytes(), exposed.buffer.bytes());

  for (const uint32_t bytes : {8u, 4000u}) {  // inline, and not
    std::memset(room.data(), static_cast<int>(bytes / 8), room.size());
    Piece piece = pair.a.PieceOf(room);
    piece.bytes = bytes;
    ASSERT_EQ(pair.to_b->Post({exposed.Request(Kind::kWrite, piece)}), 1u);
    ASSERT_EQ(Wait(*pair.a.completions, 2), Result::kOk);
    EXPECT_EQ(std::memcmp(exposed.buffer.data(), room.data(), bytes), 0);
  }
  EXPECT_EQ(exposed.buffer.data()[4000], 0x5a);
}

TEST(VerbsRcTest, AtomicsGiveTheOldValue) {
  RcPair pair;
  Exposed exposed(pair, 64, 0);
  const Buffer old = Room(pair.a, 8);
  const auto value = [](const Buffer& buffer) {
    uint64_t number;
    std::memcpy(&number, buffer.data(), sizeof(number));
    return number;
  };
  RcRequest add = exposed.Request(Kind::kFetchAdd, pair.a.PieceOf(old));
  add.operand = 41;
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(pair.to_b->Post({add}), 1u);
    ASSERT_EQ(Wait(*pair.a.completions, 2), Result::kOk);
  }
  EXPECT_EQ(value(old), 41u);
  EXPECT_EQ(value(exposed.buffer), 82u);

  RcRequest swap = exposed.Request(Kind::kCompareSwap, pair.a.PieceOf(old));
  swap.operand = 7;
  for (const uint64_t compare : {uint64_t{1}, uint64_t{82}}) {  // refused, done
    swap.compare = compare;
    ASSERT_EQ(pair.to_b->Post({swap}), 1u);
    ASSERT_EQ(Wait(*pair.a.completions, 2), Result::kOk);
    EXPECT_EQ(value(old), 82u);
  }
  EXPECT_EQ(value(exposed.buffer), 7u);
}

TEST(VerbsRcTest, AKeyIsVoidOnceInvalidated) {
  RcPair pair;
  Exposed exposed(pair, 4096, 1);
  const uint32_t first_key = exposed.window->remote_key();
  // Bound anew over and over, also twice in one burst.
  RcRequest invalidate{.kind = Kind::kInvalidate, .context = 1, .window = exposed.window.get()};
  const RcRequest bind = Bind(exposed.window.get(), pair.b.PieceOf(exposed.buffer));
  ASSERT_EQ(pair.to_a->Post({invalidate, bind, invalidate, bind}), 4u);
  for (int i = 0; i < 4; ++i) ASSERT_EQ(Wait(*pair.b.completions, 1), Result::kOk);
  EXPECT_NE(exposed.window->remote_key(), first_key);

  const Buffer room = Room(pair.a, 4096);
  ASSERT_EQ(pair.to_b->Post({exposed.Request(Kind::kRead, pair.a.PieceOf(room))}), 1u);
  EXPECT_EQ(Wait(*pair.a.completions, 2), Result::kOk);
  ASSERT_EQ(pair.to_a->Post({invalidate}), 1u);
  ASSERT_EQ(Wait(*pair.b.completions, 1), Result::kOk);
  ASSERT_EQ(pair.to_b->Post({exposed.Request(Kind::kRead, pair.a.PieceOf(room), 3),
                             exposed.Request(Kind::kRead, pair.a.PieceOf(room), 4)}),
            2u);
  EXPECT_EQ(Wait(*pair.a.completions, 3), Result::kDenied);
  EXPECT_EQ(Wait(*pair.a.completions, 4), Result::kFlushed);
}

TEST(VerbsRcTest, ReachesNothingBesideTheWindow) {
  for (int which = 0; which < 5; ++which) {
    RcPair pair;
    // Soft-RoCE does not check the bounds of windows.
    if (which >= 3 && pair.b.nic->limits().is_software) break;
    Exposed exposed(pair, 1024, 1);
    const Buffer room = Room(pair.a, 1024);
    RcRequest request = exposed.Request(Kind::kRead, pair.a.PieceOf(room));
    const absl::Span<uint8_t> memory = pair.b.memory->memory();
    const auto begin = reinterpret_cast<uint64_t>(memory.data());
    if (which == 0) request.remote_address = begin + memory.size() - 1023;
    if (which == 1) request.remote_address = begin - 1;
    if (which == 2) request.remote_key ^= 0x5;  // another key
    if (which == 3) request.remote_address += 1;
    if (which == 4) request.remote_address -= 1;
    ASSERT_EQ(pair.to_b->Post({request}), 1u);
    EXPECT_EQ(Wait(*pair.a.completions, 2), Result::kDenied) << which;
  }
}

TEST(VerbsRcTest, AReadOnlyWindowIsNotWritten) {
  RcPair pair;
  Exposed exposed(pair, 1024, 1);
  RcRequest bind = Bind(exposed.window.get(), pair.b.PieceOf(exposed.buffer));
  bind.remote_write = bind.remote_atomic = false;
  ASSERT_EQ(pair.to_a->Post({bind}), 1u);  // without having been invalidated
  ASSERT_EQ(Wait(*pair.b.completions, 1), Result::kOk);
  const Buffer room = Room(pair.a, 1024);
  ASSERT_EQ(pair.to_b->Post({exposed.Request(Kind::kRead, pair.a.PieceOf(room)),
                             exposed.Request(Kind::kWrite, pair.a.PieceOf(room), 3)}),
            2u);
  EXPECT_EQ(Wait(*pair.a.completions, 2), Result::kOk);
  EXPECT_EQ(Wait(*pair.a.completions, 3), Result::kDenied);
  EXPECT_EQ(exposed.buffer.data()[0], 1);
}

TEST(VerbsRcTest, AKeyWorksOnItsConnectionOnly) {
  RcPair pair;
  Exposed exposed(pair, 1024, 1);
  auto other_b = *pair.a.completions->OpenRcQueue({});
  auto other_a = *pair.b.completions->OpenRcQueue({});
  ASSERT_TRUE(other_a->Connect(other_b->address()).ok());
  ASSERT_TRUE(other_b->Connect(other_a->address()).ok());
  const Buffer room = Room(pair.a, 1024);
  ASSERT_EQ(other_b->Post({exposed.Request(Kind::kRead, pair.a.PieceOf(room))}), 1u);
  EXPECT_EQ(Wait(*pair.a.completions, 2), Result::kDenied);
}

TEST(VerbsRcTest, APeerThatHasGoneIsLost) {
  RcPair pair;
  Exposed exposed(pair, 1024, 1);
  pair.to_a.reset();
  const Buffer room = Room(pair.a, 1024);
  ASSERT_EQ(pair.to_b->Post({exposed.Request(Kind::kRead, pair.a.PieceOf(room), 2),
                             exposed.Request(Kind::kRead, pair.a.PieceOf(room), 3)}),
            2u);
  EXPECT_EQ(Wait(*pair.a.completions, 2), Result::kPeerLost);
  EXPECT_EQ(Wait(*pair.a.completions, 3), Result::kFlushed);

  // A connection anew, and the window of the old one for it.
  pair.to_b = *pair.a.completions->OpenRcQueue({});
  pair.to_a = *pair.b.completions->OpenRcQueue({});
  ASSERT_TRUE(pair.to_a->Connect(pair.to_b->address()).ok());
  ASSERT_TRUE(pair.to_b->Connect(pair.to_a->address()).ok());
  ASSERT_EQ(pair.to_a->Post({Bind(exposed.window.get(), pair.b.PieceOf(exposed.buffer))}), 1u);
  ASSERT_EQ(Wait(*pair.b.completions, 1), Result::kOk);
  ASSERT_EQ(pair.to_b->Post({exposed.Request(Kind::kRead, pair.a.PieceOf(room), 4)}), 1u);
  EXPECT_EQ(Wait(*pair.a.completions, 4), Result::kOk);
}

TEST(VerbsRcTest, ConnectsAgainAndItsWindowsStay) {
  RcPair pair;
  Exposed exposed(pair, 1024, 1);
  const Buffer room = Room(pair.a, 1024);
  for (int round = 0; round < 3; ++round) {
    EXPECT_FALSE(pair.to_b->failed());
    EXPECT_FALSE(pair.to_a->failed());
    // A mistake of one end brings both into their error state.
    RcRequest wrong = exposed.Request(Kind::kRead, pair.a.PieceOf(room), 3);
    wrong.remote_key ^= 0x5;
    ASSERT_EQ(pair.to_b->Post({wrong, wrong}), 2u);
    EXPECT_EQ(Wait(*pair.a.completions, 3), Result::kDenied);
    EXPECT_TRUE(pair.to_b->failed());
    EXPECT_TRUE(Eventually([&] { return pair.to_a->failed(); }));
    if (round == 1) pair.to_b = *pair.a.completions->OpenRcQueue({});  // with another end
    ASSERT_TRUE(pair.to_a->Connect(pair.to_b->address()).ok());
    ASSERT_TRUE(pair.to_b->Connect(pair.to_a->address()).ok());
    ASSERT_EQ(pair.to_b->Post({exposed.Request(Kind::kRead, pair.a.PieceOf(room), 4)}), 1u);
    // The other wrong one was flushed, unless the queue has ended.
    if (round != 1) {
      EXPECT_EQ(Wait(*pair.a.completions, 3), Result::kFlushed);
    }
    EXPECT_EQ(Wait(*pair.a.completions, 4), Result::kOk) << round;
  }
}

TEST(VerbsRcTest, AWindowWandersBetweenConnections) {
  RcPair pair;
  Exposed exposed(pair, 1024, 1);
  auto other_b = *pair.a.completions->OpenRcQueue({});
  auto other_a = *pair.b.completions->OpenRcQueue({});
  ASSERT_TRUE(other_a->Connect(other_b->address()).ok());
  ASSERT_TRUE(other_b->Connect(other_a->address()).ok());
  const Buffer room = Room(pair.a, 1024);
  RcQueue* owners[] = {other_a.get(), pair.to_a.get()};
  RcQueue* readers[] = {other_b.get(), pair.to_b.get()};
  RcQueue* former = pair.to_a.get();
  const RcRequest bind = Bind(exposed.window.get(), pair.b.PieceOf(exposed.buffer));
  RcRequest invalidate{.kind = Kind::kInvalidate, .context = 1, .window = exposed.window.get()};
  for (int i = 0; i < 12; ++i) {
    // Invalidated, and known to be; not known to be; not at all.
    if (i % 3 != 2) {
      invalidate.signalled = i % 3 == 0;
      ASSERT_EQ(former->Post({invalidate}), 1u);
      if (invalidate.signalled) {
        ASSERT_EQ(Wait(*pair.b.completions, 1), Result::kOk);
      }
    }
    former = owners[i % 2];
    ASSERT_EQ(former->Post({bind}), 1u);
    ASSERT_EQ(Wait(*pair.b.completions, 1), Result::kOk) << i;
    ASSERT_EQ(readers[i % 2]->Post({exposed.Request(Kind::kRead, pair.a.PieceOf(room))}), 1u);
    ASSERT_EQ(Wait(*pair.a.completions, 2), Result::kOk) << i;
  }
}

TEST(VerbsRcTest, UnsignalledRequestsAreSilentAndGiveTheirSlotsBack) {
  RcPair pair(/*slots=*/16);
  Exposed exposed(pair, 64, 1);
  const Buffer room = Room(pair.a, 64);
  RcRequest write = exposed.Request(Kind::kWrite, pair.a.PieceOf(room));
  write.signalled = false;
  size_t posted = 0;
  RcCompletion completion;
  ASSERT_TRUE(Eventually([&] {
    posted += pair.to_b->Post({write, write, write});
    EXPECT_EQ(pair.a.completions->Poll(absl::MakeSpan(&completion, 1)), 0u);
    return posted >= 100;
  }));
  write.signalled = true;
  write.context = 9;
  ASSERT_TRUE(Eventually([&] {
    EXPECT_EQ(pair.a.completions->Poll(absl::MakeSpan(&completion, 1)), 0u);
    return pair.to_b->Post({write}) == 1;
  }));
  EXPECT_EQ(Wait(*pair.a.completions, 9), Result::kOk);
}

TEST(VerbsRcTest, MayEndWhileRequestsAreUnderWay) {
  RcPair pair;
  Exposed exposed(pair, 8000, 1);
  const Buffer room = Room(pair.a, 8000);
  auto other_b = *pair.a.completions->OpenRcQueue({});
  auto other_a = *pair.b.completions->OpenRcQueue({});
  ASSERT_TRUE(other_a->Connect(other_b->address()).ok());
  ASSERT_TRUE(other_b->Connect(other_a->address()).ok());
  const auto window = *pair.a.nic->OpenWindow();
  const std::vector<RcRequest> reads(60, exposed.Request(Kind::kRead, pair.a.PieceOf(room), 5));
  ASSERT_EQ(other_b->Post({Bind(window.get(), pair.a.PieceOf(room), 77)}), 1u);
  ASSERT_EQ(pair.to_b->Post(reads), 60u);
  pair.to_b.reset();
  // Of the other connection all completions come, of this one none.
  EXPECT_EQ(Wait(*pair.a.completions, 77), Result::kOk);
  RcCompletion completion;
  EXPECT_EQ(pair.a.completions->Poll(absl::MakeSpan(&completion, 1)), 0u);
}

TEST(VerbsRcTest, TheCompletionQueueGrowsWithConnections) {
  RcPair pair;
  Exposed exposed(pair, 64, 1);
  std::vector<std::unique_ptr<RcQueue>> more;
  for (int i = 0; i < 40; ++i) more.push_back(*pair.a.completions->OpenRcQueue({.slots = 128}));
  const Buffer room = Room(pair.a, 64);
  ASSERT_EQ(pair.to_b->Post({exposed.Request(Kind::kRead, pair.a.PieceOf(room))}), 1u);
  EXPECT_EQ(Wait(*pair.a.completions, 2), Result::kOk);
}

TEST(VerbsRcTest, ASleeperWakesForACompletion) {
  RcPair pair;
  Exposed exposed(pair, 4096, 1);
  const Buffer room = Room(pair.a, 4096);
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(pair.a.completions->Arm());
    ASSERT_EQ(pair.to_b->Post({exposed.Request(Kind::kRead, pair.a.PieceOf(room))}), 1u);
    EXPECT_TRUE(IsReadable(pair.a.completions->wait_fd(), 20000));
    pair.a.completions->Disarm();
    EXPECT_EQ(Wait(*pair.a.completions, 2), Result::kOk);
  }
}

}  // namespace
}  // namespace weft::rdma
