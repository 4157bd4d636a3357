// SPDX-License-Identifier: Apache-2.0
//
// Datagrams of real devices. Runs in the virtual machine: tools/vm/run --net.

#include "weft/transports/rdma/verbs_ud.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "weft/transports/rdma/device.h"
#include "weft/transports/rdma/verbs_test_util.h"

namespace weft::rdma {
namespace {

const std::string kFirst = AddressOfEnd(0);
const std::string kSecond = AddressOfEnd(1);

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

}  // namespace
}  // namespace weft::rdma
