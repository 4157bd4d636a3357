// SPDX-License-Identifier: Apache-2.0
//
// TCP segments of two workers on one device: each goes to the worker whose connection or listener
// it is for, wherever it arrives. Both are polled by one thread, in turn.
#include <cstring>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/netstack/segment_test_util.h"
#include "weft/netstack/stack_test_util.h"

namespace weft::netstack {
namespace {

constexpr size_t kWorkers = 2;
constexpr uint16_t kEphemeralMin = 50000;
constexpr MacAddress kOurMac = {2, 0, 0, 0, 0, 1};
constexpr MacAddress kPeerMac = {2, 0, 0, 0, 0, 2};

Capabilities Frames() { return {.frames = true, .max_frame_bytes = 1514}; }

// A queue of the device: the test puts frames in and sees what comes out.
class QueuePort final : public FramePort {
 public:
  QueuePort() : FramePort(Frames(), BufferPoolOptions{.count = 512}) {}
  Address local_address() const override { return Address::Sim("queue"); }
  MacAddress mac() const override { return kOurMac; }
  bool link_up() const override { return true; }
  size_t Send(absl::Span<Buffer> burst) override {
    for (Buffer& frame : burst) {
      sent.push_back(Bytes(frame.bytes().begin(), frame.bytes().end()));
      frame.Reset();
    }
    return burst.size();
  }
  size_t Receive(absl::Span<Buffer> burst) override {
    size_t n = 0;
    for (; n < burst.size() && !arrived.empty(); ++n) {
      burst[n] = pool_.Allocate();
      const Bytes& frame = arrived.front();
      std::memcpy(burst[n].Append(frame.size()), frame.data(), frame.size());
      arrived.pop_front();
    }
    return n;
  }

  std::deque<Bytes> arrived;
  std::vector<Bytes> sent;
};

class StackTcpWorkersTest : public testing::Test {
 protected:
  void Open(bool steering = false) {
    config::Netstack config;
    config.add_addresses("10.0.0.1/24");
    config.set_link_local(false);
    config.set_ephemeral_port_min(kEphemeralMin);
    config.set_receive_packet_steering(steering);
    auto* const neighbor = config.add_neighbors();
    neighbor->set_address(kPeer4);
    neighbor->set_mac(MacToString(kPeerMac));
    const auto siblings = std::make_shared<Siblings>(static_cast<int>(kWorkers));
    for (size_t i = 0; i < kWorkers; ++i) {
      auto port = std::make_unique<QueuePort>();
      queues_[i] = port.get();
      stacks_[i] = *Stack::Open(
          *StackOptions::From(config),
          {.clock = &clock_,
           .timers = &timers_,
           .siblings = siblings,
           .queue = static_cast<int>(i),
           .owner = std::make_shared<std::atomic<const void*>>(internal::ThreadToken())},
          std::move(port));
      handlers_[i] = std::make_unique<TestHandler>(stacks_[i].get());
    }
    Run();
    for (QueuePort* queue : queues_) queue->sent.clear();
  }
  void TearDown() override {
    for (auto& handler : handlers_) handler.reset();
  }
  void Run() {
    for (int i = 0; i < 8; ++i) {
      for (auto& stack : stacks_) stack->PollSegments();
    }
  }
  void Arrive(size_t queue, const Bytes& packet) {
    Bytes frame = MacBytes(kOurMac);
    const Bytes from = MacBytes(kPeerMac);
    frame.insert(frame.end(), from.begin(), from.end());
    frame.push_back(0x08);
    frame.push_back(0x00);
    frame.insert(frame.end(), packet.begin(), packet.end());
    queues_[queue]->arrived.push_back(std::move(frame));
  }
  void ArriveSegment(size_t queue, const SegmentSpec& spec) {
    Arrive(queue, Ipv4Packet({.source = kPeer4, .destination = kOurs4, .protocol = 6},
                             TcpMessage(Ip(kPeer4), Ip(kOurs4), spec, Pattern(20))));
  }
  void Listen(size_t worker, uint16_t port, bool shared) {
    ASSERT_EQ(stacks_[worker]->AddTcpListener({IpAddress(), port}, shared), absl::OkStatus());
    handlers_[worker]->ports.insert(port);
  }
  uint64_t HandedOver(size_t worker) { return stacks_[worker]->stats().handed_over.value(); }

  ManualClock clock_;
  TimerWheel timers_{0};
  QueuePort* queues_[kWorkers];
  std::shared_ptr<Stack> stacks_[kWorkers];
  std::unique_ptr<TestHandler> handlers_[kWorkers];
};

TEST_F(StackTcpWorkersTest, WhatComesToTheRightWorkerStays) {
  Open();
  for (size_t worker = 0; worker < kWorkers; ++worker) {
    Listen(worker, 80, /*shared=*/true);
    for (uint16_t i = 0; i < 50; ++i) {
      ArriveSegment(worker, {.source_port = static_cast<uint16_t>(40000 + i)});
    }
  }
  Run();
  for (size_t worker = 0; worker < kWorkers; ++worker) {
    EXPECT_EQ(handlers_[worker]->heard.size(), 50u);
    EXPECT_EQ(HandedOver(worker), 0u);
  }
}

TEST_F(StackTcpWorkersTest, ListenersOfOneWorkerAreFoundByTheOther) {
  Open();
  Listen(1, 80, /*shared=*/false);
  ArriveSegment(0, {});
  Run();
  EXPECT_EQ(HandedOver(0), 1u);
  ASSERT_EQ(handlers_[1]->heard.size(), 1u);
  EXPECT_EQ(handlers_[1]->heard[0].bytes, TcpMessage(Ip(kPeer4), Ip(kOurs4), {}, Pattern(20)));
  EXPECT_EQ(handlers_[1]->heard[0].source, Ip(kPeer4));
  EXPECT_EQ(handlers_[0]->strays + handlers_[1]->strays, 0u);
  // And no more when it has gone.
  stacks_[1]->RemoveTcpListener({IpAddress(), 80});
  handlers_[1]->ports.clear();
  ArriveSegment(0, {});
  Run();
  EXPECT_EQ(handlers_[0]->strays, 1u);
  EXPECT_EQ(queues_[0]->sent.size(), 1u) << "the reset";
  EXPECT_EQ(HandedOver(0), 1u);
}

TEST_F(StackTcpWorkersTest, ConnectionsAreFoundByTheirPort) {
  Open();
  for (uint16_t i = 0; i < 6; ++i) {
    const auto port = static_cast<uint16_t>(kEphemeralMin + i);
    const int owner = stacks_[0]->TcpPortOwner(port);
    EXPECT_EQ(owner, i % 2);
    EXPECT_EQ(stacks_[1]->TcpPortOwner(port), owner);
    handlers_[static_cast<size_t>(owner)]->ports.insert(port);
    for (size_t queue = 0; queue < kWorkers; ++queue) {
      ArriveSegment(queue, {.source_port = 80, .destination_port = port, .flags = kTcpAck});
    }
  }
  EXPECT_EQ(stacks_[0]->TcpPortOwner(kEphemeralMin - 1), -1);
  Run();
  EXPECT_EQ(handlers_[0]->heard.size(), 6u);
  EXPECT_EQ(handlers_[1]->heard.size(), 6u);
  EXPECT_EQ(HandedOver(0), 3u);
  EXPECT_EQ(HandedOver(1), 3u);
}

TEST_F(StackTcpWorkersTest, StraysAreAnsweredOnce) {
  Open();
  ArriveSegment(0, {.destination_port = 81});                 // nobody listens
  ArriveSegment(0, {.destination_port = kEphemeralMin + 1});  // the other's, but not there
  Run();
  EXPECT_EQ(handlers_[0]->strays, 1u);
  EXPECT_EQ(handlers_[1]->strays, 1u);
  EXPECT_EQ(queues_[0]->sent.size(), 1u);
  EXPECT_EQ(queues_[1]->sent.size(), 1u);
  EXPECT_EQ(stacks_[0]->stats().segments_stray.value(), 1u);
}

TEST_F(StackTcpWorkersTest, SteeringSpreadsFlowsAndKeepsThemTogether) {
  Open(/*steering=*/true);
  Listen(0, 80, /*shared=*/true);
  Listen(1, 80, /*shared=*/true);
  constexpr uint16_t kFlows = 100;
  for (const size_t queue : {0, 0, 1}) {
    for (uint16_t i = 0; i < kFlows; ++i) {
      ArriveSegment(queue, {.source_port = static_cast<uint16_t>(40000 + i)});
    }
    Run();
  }
  std::set<int> flows[kWorkers];
  for (size_t worker = 0; worker < kWorkers; ++worker) {
    for (const TestHandler::Heard& heard : handlers_[worker]->heard) {
      flows[worker].insert(heard.source_port());
    }
    EXPECT_EQ(handlers_[worker]->heard.size(), 3 * flows[worker].size());
    EXPECT_GT(flows[worker].size(), kFlows / 4u);
  }
  EXPECT_EQ(flows[0].size() + flows[1].size(), kFlows);
}

TEST_F(StackTcpWorkersTest, ConnectionsToOurselvesFindBothEnds) {
  Open();
  Listen(1, 80, /*shared=*/false);
  handlers_[0]->ports.insert(kEphemeralMin);
  const auto send = [this](size_t worker, const SegmentSpec& spec) {
    OutgoingSegment one[] = {{.buffer = FillSegment(stacks_[worker]->Allocate(), spec),
                              .source = Ip(kOurs4),
                              .destination = Ip(kOurs4)}};
    EXPECT_EQ(stacks_[worker]->SendSegments(absl::MakeSpan(one)), 1u);
    Run();
  };
  send(0, {.source_port = kEphemeralMin, .destination_port = 80});
  ASSERT_EQ(handlers_[1]->heard.size(), 1u);
  send(1, {.source_port = 80, .destination_port = kEphemeralMin, .flags = kTcpSyn | kTcpAck});
  ASSERT_EQ(handlers_[0]->heard.size(), 1u);
  EXPECT_EQ(handlers_[0]->heard[0].source_port(), 80);
  EXPECT_TRUE(queues_[0]->sent.empty());
  EXPECT_TRUE(queues_[1]->sent.empty());
}

TEST_F(StackTcpWorkersTest, ErrorsAreToldToBoth) {
  Open();
  OutgoingSegment one[] = {{.buffer = FillSegment(stacks_[1]->Allocate(), {}),
                            .source = Ip(kOurs4),
                            .destination = Ip(kPeer4)}};
  EXPECT_EQ(stacks_[1]->SendSegments(absl::MakeSpan(one)), 1u);
  ASSERT_EQ(queues_[1]->sent.size(), 1u);
  handlers_[1]->sequence_in_flight = 1000;
  const Bytes about = Slice(queues_[1]->sent[0], 14);
  Arrive(0, Ipv4Packet({.source = kPeer4, .destination = kOurs4, .protocol = 1},
                       Icmp4Message(3, 4, 1300, about)));
  Run();
  EXPECT_EQ(handlers_[1]->errors.size(), 1u);
  EXPECT_EQ(stacks_[1]->PathMtu(Ip(kPeer4)), 1300u);
  ASSERT_EQ(handlers_[1]->path_mtus.size(), 1u);
  EXPECT_EQ(stacks_[0]->PathMtu(Ip(kPeer4)), 1500u) << "it has sent nothing there";
}

TEST_F(StackTcpWorkersTest, AListenersAddressIsItsOwn) {
  Open();
  EXPECT_EQ(std::string(stacks_[0]->AddTcpListener({Ip("10.0.0.9"), 80}, false).message()),
            "10.0.0.9 is no address of sim:queue (10.0.0.1/24); listen at one of these");
  ASSERT_EQ(stacks_[0]->AddTcpListener({Ip(kOurs4), 80}, false), absl::OkStatus());
  EXPECT_EQ(stacks_[0]->AddTcpListener({Ip(kOurs4), 80}, false).code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(stacks_[1]->AddTcpListener({IpAddress(), 80}, true).code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(stacks_[1]->HasTcpListener(80));
  EXPECT_FALSE(stacks_[1]->HasTcpListener(81));
  stacks_[0]->RemoveTcpListener({Ip(kOurs4), 80});
  EXPECT_FALSE(stacks_[1]->HasTcpListener(80));
  EXPECT_EQ(stacks_[1]->AddTcpListener({IpAddress(), 80}, true), absl::OkStatus());
  EXPECT_EQ(stacks_[0]->AddTcpListener({IpAddress(), 80}, true), absl::OkStatus());
}

}  // namespace
}  // namespace weft::netstack
