// SPDX-License-Identifier: Apache-2.0
//
// Several workers with a queue of one device each: connections stay where they are, wherever the
// device takes their segments to. Skipped where the kernel does not let us make the network.
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "weft/tcp/echo_peers.h"
#include "weft/tcp/network_fixture.h"

namespace weft::tcp {
namespace {

constexpr int kWorkers = 2;

PortOptions OfWorker(int n) { return {.queue = n, .queues = kWorkers}; }

class WorkersTest : public testing::Test {
 protected:
  void SetUp() override {
    const absl::Status status =
        network_.Open({.device = Device::kPacket, .v4 = true, .workers = kWorkers});
    if (!status.ok()) GTEST_SKIP() << status;
  }

  // A client of the kernel's for each: all of `bytes` come back to all of them.
  void ExpectEcho(uint16_t port, int clients, size_t bytes) {
    std::vector<std::unique_ptr<KernelExchange>> exchanges;
    std::vector<bool> over(static_cast<size_t>(clients));
    for (int i = 0; i < clients; ++i) {
      exchanges.push_back(std::make_unique<KernelExchange>(
          network_.Connecting(port), RandomText(bytes, static_cast<uint64_t>(i))));
    }
    const auto end = std::chrono::steady_clock::now() + kPatience;
    size_t left = exchanges.size();
    while (left > 0 && std::chrono::steady_clock::now() < end) {
      for (size_t i = 0; i < exchanges.size(); ++i) {
        if (over[i] || !exchanges[i]->Step()) continue;
        over[i] = true;
        --left;
      }
      std::this_thread::yield();
    }
    EXPECT_EQ(left, 0u);
    for (size_t i = 0; i < exchanges.size(); ++i) {
      EXPECT_EQ(exchanges[i]->error(), "");
      EXPECT_TRUE(exchanges[i]->got() == RandomText(bytes, i));
    }
  }

  KernelNetwork network_;
};

TEST_F(WorkersTest, ListenersAtOneAddressShareWhatComes) {
  constexpr int kClients = 24;
  EchoThread first(&network_.transport(), OfWorker(0), network_.ours(0));
  EchoThread second(&network_.transport(), OfWorker(1), network_.ours(first.port()));
  ExpectEcho(first.port(), kClients, 50'000);
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (first.closed() + second.closed() < kClients && std::chrono::steady_clock::now() < end) {
    std::this_thread::yield();
  }
  EXPECT_EQ(first.accepted() + second.accepted(), kClients);
  EXPECT_GT(first.accepted(), 0);
  EXPECT_GT(second.accepted(), 0);
  EXPECT_EQ(first.last_error(), 0);
  EXPECT_EQ(second.last_error(), 0);
}

TEST_F(WorkersTest, AListenerOfOneWorkerIsFoundByAll) {
  EchoThread first(&network_.transport(), OfWorker(0), network_.ours(0));
  EchoThread second(&network_.transport(), OfWorker(1), network_.ours(0));
  EXPECT_NE(first.port(), second.port());
  ExpectEcho(first.port(), 8, 50'000);
  ExpectEcho(second.port(), 8, 50'000);
  EXPECT_EQ(first.accepted(), 8);
  EXPECT_EQ(second.accepted(), 8);
}

TEST_F(WorkersTest, AnAddressOfAnotherWorkerAloneIsInUse) {
  EchoThread first(&network_.transport(), {}, network_.ours(0));
  std::thread other([&] {
    auto port = network_.transport().OpenStreamPort({});
    ASSERT_TRUE(port.ok()) << port.status();
    EXPECT_EQ((*port)->Listen(network_.ours(first.port()), 1).status().code(),
              absl::StatusCode::kAlreadyExists);
  });
  other.join();
}

// Answers come to whichever queue the device says, and find the worker by their port.
TEST_F(WorkersTest, ConnectionsOfEachWorkerComeBackToIt) {
  constexpr int kEach = 12;
  auto [listener, server_port] = network_.Listener();
  KernelEcho server(std::move(listener));
  const Address address = network_.theirs(server_port);
  std::atomic<int> opened{0};
  std::atomic<int> done{0};
  std::vector<std::thread> workers;
  for (int w = 0; w < kWorkers; ++w) {
    workers.emplace_back([&, w] {
      auto port = network_.transport().OpenStreamPort(OfWorker(w));
      EXPECT_TRUE(port.ok()) << port.status();
      ++opened;
      while (opened.load() < kWorkers) std::this_thread::yield();
      if (port.ok()) {
        std::vector<std::unique_ptr<WeftExchange>> clients;
        const std::string text = RandomText(50'000, static_cast<uint64_t>(w));
        for (int i = 0; i < kEach; ++i) {
          const auto stream = (*port)->Connect(address);
          ASSERT_TRUE(stream.ok()) << stream.status();
          clients.push_back(std::make_unique<WeftExchange>(port->get(), *stream, text));
        }
        const auto end = std::chrono::steady_clock::now() + kPatience;
        int closed = 0;
        StreamEvent events[32];
        while (closed < kEach && std::chrono::steady_clock::now() < end) {
          const size_t n = PollOrSleep(**port, absl::MakeSpan(events));
          for (size_t i = 0; i < n; ++i) {
            for (auto& client : clients) {
              if (client->stream() == events[i].stream) client->Handle(events[i]);
            }
            closed += events[i].kind == StreamEvent::Kind::kClosed ? 1 : 0;
          }
        }
        for (auto& client : clients) {
          EXPECT_EQ(client->error(), 0);
          EXPECT_TRUE(client->got() == text) << client->got().size();
        }
      }
      // The other's segments may still come by this one's queue.
      ++done;
      StreamEvent events[32];
      while (done.load() < kWorkers && port.ok()) PollOrSleep(**port, absl::MakeSpan(events));
    });
  }
  while (done.load() < kWorkers) {
    server.Step();
    std::this_thread::yield();
  }
  for (std::thread& worker : workers) worker.join();
}

}  // namespace
}  // namespace weft::tcp
