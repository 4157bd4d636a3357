// SPDX-License-Identifier: Apache-2.0
//
// Two workers on two queues of one device, each on a thread of its own. The device is a cable in
// memory whose end of two queues spreads frames as the test says; at its other end is a stack with
// one worker, on the test's thread.
#include <atomic>
#include <chrono>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/bytes.h"
#include "weft/netstack/netstack_transport.h"
#include "weft/netstack/udp_port.h"

namespace weft::netstack {
namespace {

constexpr size_t kWorkers = 2;
using Bytes = std::vector<uint8_t>;
// Which queue a frame goes to.
using Spread = std::function<size_t(const Bytes& frame)>;

// Frames on their way to one queue.
class Wire {
 public:
  void Put(Bytes frame) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (frames_.size() < 4096) frames_.push_back(std::move(frame));
  }
  Bytes Take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (frames_.empty()) return {};
    Bytes frame = std::move(frames_.front());
    frames_.pop_front();
    return frame;
  }

 private:
  std::mutex mutex_;
  std::deque<Bytes> frames_;  // guarded by mutex_
};

struct Cable {
  Wire to_peer;
  Wire to_worker[kWorkers];
  Spread spread;
};

Capabilities Frames() { return {.frames = true, .max_frame_bytes = 1514}; }

class CablePort final : public FramePort {
 public:
  CablePort(Cable* cable, bool peer, size_t queue)
      : FramePort(Frames(), BufferPoolOptions{.count = 512}),
        cable_(cable),
        peer_(peer),
        queue_(queue) {}
  Address local_address() const override { return Address::Sim(peer_ ? "peer" : "workers"); }
  MacAddress mac() const override { return {2, 0, 0, 0, 0, static_cast<uint8_t>(peer_ ? 2 : 1)}; }
  bool link_up() const override { return true; }
  size_t Send(absl::Span<Buffer> burst) override {
    AssertOwner();
    for (Buffer& frame : burst) {
      Bytes bytes(frame.data(), frame.data() + frame.size());
      frame.Reset();
      if (!peer_) {
        cable_->to_peer.Put(std::move(bytes));
      } else {
        const size_t queue = cable_->spread(bytes);
        cable_->to_worker[queue].Put(std::move(bytes));
      }
    }
    return burst.size();
  }
  size_t Receive(absl::Span<Buffer> burst) override {
    AssertOwner();
    Wire& wire = peer_ ? cable_->to_peer : cable_->to_worker[queue_];
    size_t n = 0;
    for (; n < burst.size(); ++n) {
      Buffer buffer = pool_.Allocate();
      if (!buffer) break;
      const Bytes frame = wire.Take();
      if (frame.empty()) break;
      std::memcpy(buffer.Append(frame.size()), frame.data(), frame.size());
      burst[n] = std::move(buffer);
    }
    return n;
  }

 private:
  Cable* const cable_;
  const bool peer_;
  const size_t queue_;
};

class CableTransport final : public Transport {
 public:
  CableTransport(Cable* cable, bool peer) : cable_(cable), peer_(peer) {}
  absl::string_view name() const override { return "cable"; }
  const Capabilities& capabilities() const override { return capabilities_; }
  absl::StatusOr<std::unique_ptr<FramePort>> OpenFramePort(const PortOptions& options) override {
    return std::make_unique<CablePort>(cable_, peer_, static_cast<size_t>(options.queue));
  }

 private:
  Cable* const cable_;
  const bool peer_;
  const Capabilities capabilities_ = Frames();
};

// By the last bit of the UDP port of the peer; all else goes to the first queue.
size_t ByPeerPort(const Bytes& frame) {
  const bool udp = frame.size() >= 42 && LoadBig16(&frame[12]) == 0x0800 && frame[23] == 17;
  return udp ? LoadBig16(&frame[34]) & 1 : 0;
}
size_t ToTheFirst(const Bytes&) { return 0; }

class WorkersTest : public testing::Test {
 protected:
  static constexpr const char* kWorkersIp = "10.0.0.1";
  static constexpr const char* kPeerIp = "10.0.0.2";

  // What a worker does: `open` once, then `poll` again and again. Both on its thread.
  struct Worker {
    std::function<void(size_t worker)> open;
    std::function<void(size_t worker)> poll;
  };

  void Start(Spread spread, Worker worker) {
    cable_.spread = std::move(spread);
    transport_ = Open(/*peer=*/false, kWorkersIp, kWorkers);
    peer_ = Open(/*peer=*/true, kPeerIp, 1);
    peer_stack_ = *peer_->OpenStack();
    worker_ = std::move(worker);
    for (size_t i = 0; i < kWorkers; ++i) threads_.emplace_back([this, i] { Run(i); });
    while (up_ < kWorkers) std::this_thread::yield();
  }
  void TearDown() override {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
    peer_stack_.reset();
  }

  std::unique_ptr<NetstackTransport> Open(bool peer, const std::string& ip, int workers) {
    config::Netstack config;
    config.add_addresses(ip + "/24");
    config.set_link_local(false);
    config.set_receive_packet_steering(steering_);
    return *NetstackTransport::Open(std::make_unique<CableTransport>(&cable_, peer), config,
                                    workers);
  }
  std::unique_ptr<DatagramPort> OpenPort(NetstackTransport& transport, const std::string& local,
                                         PortOptions options = {}) {
    if (!local.empty()) options.local = *Address::Parse(local);
    auto port = transport.OpenDatagramPort(options);
    EXPECT_TRUE(port.ok()) << port.status();
    return port.ok() ? *std::move(port) : nullptr;
  }
  // False if no buffer is free.
  static bool SendNumber(DatagramPort& port, const Peer& to, uint32_t number) {
    Datagram burst[] = {{to, port.pool().Allocate()}};
    if (!burst[0].buffer) return false;
    StoreBig32(burst[0].buffer.Append(4), number);
    return port.Send(absl::MakeSpan(burst)) == 1;
  }
  static size_t Echo(DatagramPort& port) {
    Datagram burst[16];
    const size_t n = port.Receive(absl::MakeSpan(burst));
    port.Send(absl::MakeSpan(burst, n));
    return n;
  }
  // Polls the peer's stack too; false after a long time.
  bool Until(const std::function<bool()>& done) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!done()) {
      if (std::chrono::steady_clock::now() > end) return false;
      peer_stack_->Poll(nullptr, {});
      std::this_thread::yield();
    }
    return true;
  }
  uint64_t HandedOver() const {
    uint64_t sum = 0;
    for (const StackStats* stats : stats_) sum += stats->handed_over.value();
    return sum;
  }

  bool steering_ = false;
  Cable cable_;
  std::unique_ptr<NetstackTransport> transport_;
  std::unique_ptr<NetstackTransport> peer_;
  std::shared_ptr<Stack> peer_stack_;
  std::unique_ptr<DatagramPort> ports_[kWorkers];  // the workers', on their threads
  const StackStats* stats_[kWorkers] = {};         // any thread may read
  std::atomic<uint32_t> echoed_[kWorkers] = {};
  std::atomic<uint32_t> answered_[kWorkers] = {};

 private:
  void Run(size_t i) {
    // So that queue i is worker i's.
    while (up_ < i) std::this_thread::yield();
    const auto stack = *transport_->OpenStack();
    EXPECT_EQ(stack->queue(), static_cast<int>(i));
    stats_[i] = &stack->stats();
    worker_.open(i);
    ++up_;
    while (up_ < kWorkers && !stop_) std::this_thread::yield();
    while (!stop_) {
      worker_.poll(i);
      std::this_thread::yield();
    }
    ports_[i].reset();
  }

  Worker worker_;
  std::vector<std::thread> threads_;
  std::atomic<size_t> up_{0};
  std::atomic<bool> stop_{false};
};

TEST_F(WorkersTest, FlowsThatStayAreNeverHandedOver) {
  Start(&ByPeerPort,
        {.open =
             [this](size_t i) {
               ports_[i] = OpenPort(*transport_, "10.0.0.1:7000",
                                    {.queue = static_cast<int>(i), .queues = kWorkers});
             },
         .poll = [this](size_t i) { echoed_[i] += static_cast<uint32_t>(Echo(*ports_[i])); }});
  std::vector<std::unique_ptr<DatagramPort>> clients;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(OpenPort(*peer_, "10.0.0.2:" + std::to_string(9000 + i)));
  }
  const Peer server = *clients[0]->Resolve(*Address::Parse("10.0.0.1:7000"));
  const auto exchange = [&](uint32_t count) {
    for (uint32_t round = 0; round < count; ++round) {
      for (size_t i = 0; i < clients.size(); ++i) {
        ASSERT_TRUE(SendNumber(*clients[i], server, round));
        Datagram in[1];
        ASSERT_TRUE(Until([&] { return clients[i]->Receive(absl::MakeSpan(in)) == 1; }));
        ASSERT_EQ(LoadBig32(in[0].buffer.data()), round);
      }
    }
  };
  exchange(2);  // neighbours are found meanwhile
  const uint64_t before = HandedOver();
  exchange(100);
  EXPECT_EQ(HandedOver(), before);
  EXPECT_EQ(echoed_[0], 4u * 102);
  EXPECT_EQ(echoed_[1], 4u * 102) << "both work";
}

TEST_F(WorkersTest, SteeringSpreadsWhatTheDeviceDoesNot) {
  constexpr uint32_t kPeers = 16;
  constexpr uint32_t kEach = 20;
  steering_ = true;
  Start(&ToTheFirst,
        {.open =
             [&](size_t i) {
               ports_[i] = OpenPort(*transport_, "10.0.0.1:7000",
                                    {.queue = static_cast<int>(i), .queues = kWorkers});
             },
         .poll = [&](size_t i) { echoed_[i] += static_cast<uint32_t>(Echo(*ports_[i])); }});
  std::vector<std::unique_ptr<DatagramPort>> clients;
  for (uint32_t i = 0; i < kPeers; ++i) clients.push_back(OpenPort(*peer_, ""));
  for (uint32_t number = 0; number < kEach; ++number) {
    for (auto& client : clients) {
      const Peer to = *client->Resolve(*Address::Parse("10.0.0.1:7000"));
      ASSERT_TRUE(Until([&] { return SendNumber(*client, to, number); }));
      Datagram reply[1];
      ASSERT_TRUE(Until([&] { return client->Receive(absl::MakeSpan(reply)) == 1; }));
    }
  }
  // One queue receives all, and both workers answer.
  EXPECT_EQ(echoed_[0] + echoed_[1], kPeers * kEach);
  EXPECT_GT(echoed_[0], 0u);
  EXPECT_GT(echoed_[1], 0u);
  // Everything of one peer goes to one worker.
  EXPECT_EQ(echoed_[0] % kEach, 0u);
  EXPECT_EQ(echoed_[1] % kEach, 0u);
}

TEST_F(WorkersTest, AnswersThatArriveElsewhereAreHandedOver) {
  // Each worker asks from a port of its own, and finds its neighbour by itself.
  uint32_t sent[kWorkers] = {};
  Start(&ToTheFirst, {.open = [this](size_t i) { ports_[i] = OpenPort(*transport_, ""); },
                      .poll =
                          [this, &sent](size_t i) {
                            DatagramPort& port = *ports_[i];
                            Datagram in[16];
                            const size_t n = port.Receive(absl::MakeSpan(in));
                            for (size_t k = 0; k < n; ++k) {
                              EXPECT_EQ(LoadBig32(in[k].buffer.data()) >> 16, i)
                                  << "another's answer";
                              in[k].buffer.Reset();
                            }
                            answered_[i] += static_cast<uint32_t>(n);
                            if (sent[i] >= 500 || sent[i] > answered_[i] + 8) return;
                            const Peer to = *port.Resolve(*Address::Parse("10.0.0.2:9000"));
                            if (SendNumber(port, to, static_cast<uint32_t>(i) << 16 | sent[i]))
                              ++sent[i];
                          }});
  auto echo = OpenPort(*peer_, "10.0.0.2:9000");
  EXPECT_TRUE(Until([&] {
    Echo(*echo);
    return answered_[0] == 500 && answered_[1] == 500;
  })) << answered_[0]
      << " " << answered_[1];
  EXPECT_GE(stats_[0]->handed_over.value(), 500u);
  EXPECT_EQ(stats_[1]->handed_over.value(), 0u);
  EXPECT_EQ(stats_[0]->hand_over_full.value(), 0u);
  EXPECT_EQ(stats_[0]->no_port.value(), 0u);
}

TEST_F(WorkersTest, WorkersReachEachOtherAtTheirOwnAddress) {
  uint32_t sent = 0;
  Start(&ToTheFirst,
        {.open =
             [this](size_t i) {
               ports_[i] = OpenPort(*transport_, "10.0.0.1:" + std::to_string(7000 + i));
             },
         .poll =
             [this, &sent](size_t i) {
               if (i == 1) {
                 echoed_[1] += static_cast<uint32_t>(Echo(*ports_[1]));
                 return;
               }
               Datagram in[16];
               answered_[0] += static_cast<uint32_t>(ports_[0]->Receive(absl::MakeSpan(in)));
               if (sent >= 200 || sent > answered_[0] + 8) return;
               const Peer to = *ports_[0]->Resolve(*Address::Parse("10.0.0.1:7001"));
               if (SendNumber(*ports_[0], to, sent)) ++sent;
             }});
  EXPECT_TRUE(Until([&] { return answered_[0] == 200; })) << answered_[0] << " " << echoed_[1];
  EXPECT_EQ(echoed_[1], 200u);
}

TEST_F(WorkersTest, ErrorsReachTheWorkerWhoseTheyAre) {
  std::atomic<int> events[kWorkers] = {};
  Start(&ToTheFirst, {.open = [this](size_t i) { ports_[i] = OpenPort(*transport_, ""); },
                      .poll =
                          [this, &events](size_t i) {
                            Datagram in[4];
                            ports_[i]->Receive(absl::MakeSpan(in));
                            PortEvent event[4];
                            const size_t n = ports_[i]->TakeEvents(absl::MakeSpan(event));
                            events[i] += static_cast<int>(n);
                            if (i == 0 || events[i] > 0) return;
                            const Peer to = *ports_[i]->Resolve(*Address::Parse("10.0.0.2:9999"));
                            SendNumber(*ports_[i], to, 1);
                          }});
  EXPECT_TRUE(Until([&] { return events[1] > 0; }));
  EXPECT_EQ(events[0], 0);
}

TEST_F(WorkersTest, AnAddressIsOneWorkersUnlessAllShareIt) {
  std::atomic<int> refused{0};
  Start(&ToTheFirst, {.open =
                          [&](size_t i) {
                            auto port = transport_->OpenDatagramPort(
                                {.local = *Address::Parse("10.0.0.1:7000")});
                            EXPECT_EQ(port.ok(), i == 0);
                            if (port.ok()) {
                              ports_[i] = *std::move(port);
                            } else {
                              ++refused;
                            }
                          },
                      .poll = [](size_t) {}});
  EXPECT_EQ(refused, 1);
  // A third thread finds no queue.
  EXPECT_EQ(transport_->OpenStack().status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace weft::netstack
