// SPDX-License-Identifier: Apache-2.0
//
// A stream port of weft's with the kernel's TCP at the other end, for tests; see network_fixture.h.
#ifndef WEFT_TCP_KERNEL_FIXTURE_H_
#define WEFT_TCP_KERNEL_FIXTURE_H_

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "gtest/gtest.h"
#include "weft/tcp/echo_peers.h"
#include "weft/tcp/network_fixture.h"

namespace weft::tcp {

class KernelFixture : public testing::Test {
 protected:
  // Skips the test where this user cannot have such a network: look at IsSkipped() behind it.
  void Open(const KernelNetwork::Settings& settings) {
    const absl::Status status = network_.Open(settings);
    if (!status.ok()) GTEST_SKIP() << status;
    auto port = network_.transport().OpenStreamPort({});
    ASSERT_TRUE(port.ok()) << port.status();
    port_ = *std::move(port);
  }

  // Polls the port and hands its events on until `done`.
  template <typename Handler, typename Done>
  bool Until(Handler handle, Done done) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    StreamEvent events[32];
    while (!done()) {
      if (std::chrono::steady_clock::now() > end) return false;
      network_.Carry();
      const size_t n = port_->Poll(absl::MakeSpan(events));
      for (size_t i = 0; i < n; ++i) handle(events[i]);
      if (n == 0) std::this_thread::yield();
    }
    return true;
  }

  // A client of the kernel's sends `bytes` and the end, and gets all of them and the end back.
  void ExpectEchoToKernel(size_t bytes) {
    const auto address = port_->Listen(network_.ours(0), 8);
    ASSERT_TRUE(address.ok()) << address.status();
    Echo echo(port_.get());
    const std::string text = RandomText(bytes, 1);
    KernelExchange client(network_.Connecting(address->port()), text);
    bool over = false;
    EXPECT_TRUE(Until(
        [&](const StreamEvent& event) {
          if (event.kind == StreamEvent::Kind::kAccepted) OnOpen(event.stream);
          echo.Handle(event);
        },
        [&] {
          over = over || client.Step();
          return over && echo.closed() == 1;
        }))
        << client.got().size() << " bytes came back";
    EXPECT_EQ(client.error(), "");
    EXPECT_TRUE(client.got() == text) << client.got().size() << " of " << bytes;
    EXPECT_EQ(echo.last_error(), 0);
  }

  // The same the other way round.
  void ExpectEchoToWeft(size_t bytes) {
    auto [listener, port] = network_.Listener();
    KernelEcho server(std::move(listener));
    const auto stream = port_->Connect(network_.theirs(port));
    ASSERT_TRUE(stream.ok()) << stream.status();
    const std::string text = RandomText(bytes, 2);
    WeftExchange client(port_.get(), *stream, text);
    EXPECT_TRUE(Until(
        [&](const StreamEvent& event) {
          if (event.kind == StreamEvent::Kind::kConnected) OnOpen(event.stream);
          client.Handle(event);
        },
        [&] {
          server.Step();
          return client.closed();
        }))
        << client.got().size() << " bytes came back";
    EXPECT_EQ(client.error(), 0);
    EXPECT_TRUE(client.got() == text) << client.got().size() << " of " << bytes;
  }

  // Each stream that is established, before anything is done with it.
  virtual void OnOpen(StreamId) {}

  const TcpStats& stats() { return network_.transport().EndpointOfThisThread()->engine().stats(); }

  KernelNetwork network_;
  std::unique_ptr<StreamPort> port_;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_KERNEL_FIXTURE_H_
