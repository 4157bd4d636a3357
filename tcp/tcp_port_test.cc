// SPDX-License-Identifier: Apache-2.0
//
// What a TcpPort adds to the contract of streams: several ports on one stack, addresses of both
// families, where connections come from. On a simulated network.
#include "weft/tcp/tcp_port.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/config/config.h"
#include "weft/core/loop.h"
#include "weft/netstack/netstack_transport.h"
#include "weft/tcp/connections.h"
#include "weft/tcp/tcp_transport.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::tcp {
namespace {

Address Parse(const std::string& text) { return Address::Parse(text).value(); }

// A port, and what has happened to its streams.
class Side {
 public:
  explicit Side(absl::StatusOr<std::unique_ptr<StreamPort>> port) {
    EXPECT_TRUE(port.ok()) << port.status();
    if (port.ok()) port_ = *std::move(port);
  }
  StreamPort& port() { return *port_; }
  void Close() { port_.reset(); }

  void Poll() {
    StreamEvent events[16];
    for (size_t n = 1; port_ != nullptr && n > 0;) {
      n = port_->Poll(absl::MakeSpan(events));
      for (size_t i = 0; i < n; ++i) {
        const StreamEvent& event = events[i];
        if (event.kind == StreamEvent::Kind::kAccepted) accepted.push_back(event.stream);
        if (event.kind == StreamEvent::Kind::kConnected) ++connected;
        if (event.kind == StreamEvent::Kind::kRemoteClosed) ++remote_closed;
        if (event.kind == StreamEvent::Kind::kClosed) errors.push_back(event.error);
        for (auto in = port_->ReadView(event.stream); !in.empty();
             in = port_->ReadView(event.stream)) {
          got[event.stream.value].append(reinterpret_cast<const char*>(in.data()), in.size());
          port_->Consume(event.stream, in.size());
        }
      }
    }
  }
  // As much of `text` as there is room for.
  size_t Write(StreamId stream, absl::string_view text) {
    size_t written = 0;
    return port_->Send(stream, text.size(), [&](absl::Span<uint8_t> room) {
      std::memcpy(room.data(), text.data() + written, room.size());
      written += room.size();
      return room.size();
    });
  }

  std::vector<StreamId> accepted;
  int connected = 0;
  int remote_closed = 0;
  std::vector<int> errors;
  std::map<uint64_t, std::string> got;

 private:
  std::unique_ptr<StreamPort> port_;
};

class TcpPortTest : public testing::Test {
 protected:
  TcpPortTest() : here_(OpenHost(1)), there_(OpenHost(2)) {}

  // Of 10.0.0.n and fd00::n.
  std::unique_ptr<TcpTransport> OpenHost(int n) {
    config::Netstack config;
    config.add_addresses(absl::StrCat("10.0.0.", n, "/24"));
    config.add_addresses(absl::StrCat("fd00::", n, "/64"));
    auto netstack =
        netstack::NetstackTransport::Open(sim::OpenTransport(&network_), config, /*workers=*/1);
    EXPECT_TRUE(netstack.ok()) << netstack.status();
    auto transport = TcpTransport::Open(*std::move(netstack), config::Tcp());
    EXPECT_TRUE(transport.ok()) << transport.status();
    return *std::move(transport);
  }

  // Polls the sides while time passes. False when nothing is left to happen.
  bool Until(std::vector<Side*> sides, absl::FunctionRef<bool()> done) {
    for (int idle = 0; idle < 3;) {
      for (Side* side : sides) side->Poll();
      if (done()) return true;
      VirtualTime& time = *here_->virtual_time();
      const int64_t next_ns = std::min(time.NextEventNs(), time.timers().NextDeadlineNs());
      if (next_ns == INT64_MAX || next_ns > 3'600'000'000'000) {
        ++idle;
        continue;
      }
      time.AdvanceTo(std::max(next_ns, time.NowNs()));
      time.timers().Advance(time.NowNs());
    }
    return false;
  }

  sim::Network network_{1, {.latency_ns = 10'000}};
  std::unique_ptr<TcpTransport> here_;
  std::unique_ptr<TcpTransport> there_;
};

TEST_F(TcpPortTest, PortsOfAThreadHearOfTheirOwnStreamsOnly) {
  Side first(here_->OpenStreamPort({}));
  Side second(here_->OpenStreamPort({}));
  Side client(there_->OpenStreamPort({}));
  ASSERT_TRUE(first.port().Listen(Parse("10.0.0.1:80"), 4).ok());
  ASSERT_TRUE(second.port().Listen(Parse("10.0.0.1:81"), 4).ok());
  EXPECT_EQ(second.port().Listen(Parse("10.0.0.1:80"), 4).status().code(),
            absl::StatusCode::kAlreadyExists);
  const StreamId to_first = client.port().Connect(Parse("10.0.0.1:80")).value();
  const StreamId to_second = client.port().Connect(Parse("10.0.0.1:81")).value();
  ASSERT_TRUE(Until({&first, &second, &client}, [&] { return client.connected == 2; }));
  client.Write(to_first, "one");
  client.Write(to_second, "two");
  ASSERT_TRUE(
      Until({&first, &second, &client}, [&] { return !first.got.empty() && !second.got.empty(); }));
  ASSERT_EQ(first.accepted.size(), 1u);
  ASSERT_EQ(second.accepted.size(), 1u);
  EXPECT_EQ(first.got[first.accepted[0].value], "one");
  EXPECT_EQ(second.got[second.accepted[0].value], "two");

  // One that goes takes its streams and its address along, and nothing of the other's.
  first.Close();
  ASSERT_TRUE(Until({&second, &client}, [&] { return !client.errors.empty(); }));
  EXPECT_EQ(client.errors, std::vector<int>{ECONNRESET});
  EXPECT_TRUE(second.port().Listen(Parse("10.0.0.1:80"), 4).ok());
  client.Write(to_second, "three");
  ASSERT_TRUE(Until({&second, &client},
                    [&] { return second.got[second.accepted[0].value] == "twothree"; }));
}

TEST_F(TcpPortTest, PortsOfAThreadTalkToEachOther) {
  Side server(here_->OpenStreamPort({}));
  Side client(here_->OpenStreamPort({}));
  const Address address = server.port().Listen(Parse("[fd00::1]:0"), 4).value();
  const StreamId stream = client.port().Connect(address).value();
  ASSERT_TRUE(Until({&server, &client}, [&] { return client.connected == 1; }));
  const std::string text(300'000, 'x');
  size_t sent = 0;
  ASSERT_TRUE(Until({&server, &client}, [&] {
    sent += client.Write(stream, absl::string_view(text).substr(sent));
    return !server.accepted.empty() && server.got[server.accepted[0].value].size() == text.size();
  }));
  EXPECT_EQ(server.port().stats().received_bytes.value(), text.size());
  EXPECT_EQ(client.port().stats().sent_bytes.value(), text.size());
}

TEST_F(TcpPortTest, WhatWasClosedIsSentWhenThePortHasGone) {
  Side server(there_->OpenStreamPort({}));
  Side other(here_->OpenStreamPort({}));  // keeps the stack
  Side client(here_->OpenStreamPort({}));
  ASSERT_TRUE(server.port().Listen(Parse("10.0.0.2:80"), 4).ok());
  const StreamId stream = client.port().Connect(Parse("10.0.0.2:80")).value();
  ASSERT_TRUE(Until({&server, &client, &other}, [&] { return client.connected == 1; }));
  const size_t sent = client.Write(stream, std::string(200'000, 'y'));
  ASSERT_GT(sent, 100'000u);
  client.port().Close(stream);
  client.Close();
  ASSERT_TRUE(Until({&server, &other}, [&] { return server.remote_closed == 1; }));
  EXPECT_EQ(server.got[server.accepted[0].value].size(), sent);
  EXPECT_TRUE(server.errors.empty());
  server.port().Close(server.accepted[0]);
  ASSERT_TRUE(Until({&server, &other}, [&] { return server.errors.size() == 1; }));
  EXPECT_EQ(server.errors[0], 0);
  const TcpStats& stats = here_->EndpointOfThisThread()->engine().stats();
  EXPECT_EQ(stats.resets_sent.value(), 0u);
  EXPECT_EQ(stats.connections.value(), 0);
  EXPECT_EQ(stats.buffers_held.value(), 0);
}

TEST_F(TcpPortTest, AnyAddressOfBothFamiliesOrOfOne) {
  Side server(here_->OpenStreamPort({}));
  Side client(there_->OpenStreamPort({}));
  ASSERT_TRUE(server.port().Listen(Parse("[::]:80"), 4).ok());
  ASSERT_TRUE(server.port().Listen(Parse("0.0.0.0:81"), 4).ok());
  ASSERT_TRUE(client.port().Connect(Parse("10.0.0.1:80")).ok());
  ASSERT_TRUE(Until({&server, &client}, [&] { return server.accepted.size() == 1; }));
  EXPECT_EQ(*server.port().LocalAddress(server.accepted[0]), Parse("10.0.0.1:80"));
  ASSERT_TRUE(client.port().Connect(Parse("[fd00::1]:80")).ok());
  ASSERT_TRUE(Until({&server, &client}, [&] { return server.accepted.size() == 2; }));
  EXPECT_EQ(*server.port().LocalAddress(server.accepted[1]), Parse("[fd00::1]:80"));
  ASSERT_TRUE(client.port().Connect(Parse("10.0.0.1:81")).ok());
  ASSERT_TRUE(Until({&server, &client}, [&] { return server.accepted.size() == 3; }));
  ASSERT_TRUE(client.port().Connect(Parse("[fd00::1]:81")).ok());
  ASSERT_TRUE(Until({&server, &client}, [&] { return !client.errors.empty(); }));
  EXPECT_EQ(client.errors[0], ECONNREFUSED);
  EXPECT_EQ(server.accepted.size(), 3u);
}

TEST_F(TcpPortTest, WhoListensForOneFamilyGetsIt) {
  Loop loop(LoopOptions(), *here_->virtual_time());
  Connections server(loop, *here_->OpenStreamPort({}));
  Side client(there_->OpenStreamPort({}));
  std::string got;
  for (const char* address : {"0.0.0.0:80", "[::]:80", "[::]:81"}) {
    const auto note = [&got, address](Connection) { absl::StrAppend(&got, address, " "); };
    ASSERT_TRUE(server.Listen(Parse(address), 4, note).ok());
  }
  for (const char* address : {"[fd00::1]:80", "10.0.0.1:80", "10.0.0.1:81"}) {
    const uint64_t before = server.stats().accepted.value();
    ASSERT_TRUE(client.port().Connect(Parse(address)).ok());
    ASSERT_TRUE(Until({&client}, [&] {
      server.Poll();
      return server.stats().accepted.value() > before;
    }));
  }
  EXPECT_EQ(got, "[::]:80 0.0.0.0:80 [::]:81 ");
}

TEST_F(TcpPortTest, PortZeroIsAFreeOne) {
  Side server(here_->OpenStreamPort({}));
  std::vector<uint16_t> seen;
  for (int i = 0; i < 20; ++i) {
    const auto address = server.port().Listen(Parse("10.0.0.1:0"), 1);
    ASSERT_TRUE(address.ok()) << address.status();
    EXPECT_GE(address->port(), 49152);
    EXPECT_EQ(std::count(seen.begin(), seen.end(), address->port()), 0);
    seen.push_back(address->port());
  }
}

TEST_F(TcpPortTest, ConnectionsComeFromWhereTheirPortSays) {
  Side server(here_->OpenStreamPort({}));
  ASSERT_TRUE(server.port().Listen(Parse("10.0.0.1:80"), 4).ok());
  Side any(there_->OpenStreamPort({}));
  EXPECT_EQ(any.port().local_address(), Parse("10.0.0.2:0"));
  Side client(there_->OpenStreamPort({.local = Parse("10.0.0.2:7000")}));
  EXPECT_EQ(client.port().local_address(), Parse("10.0.0.2:7000"));
  ASSERT_TRUE(client.port().Connect(Parse("10.0.0.1:80")).ok());
  ASSERT_TRUE(Until({&server, &client}, [&] { return server.accepted.size() == 1; }));
  EXPECT_EQ(*server.port().PeerAddress(server.accepted[0]), Parse("10.0.0.2:7000"));
  EXPECT_EQ(client.port().Connect(Parse("10.0.0.1:80")).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(client.port().Connect(Parse("[fd00::1]:80")).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(there_->OpenStreamPort({.local = Parse("10.0.0.1:0")}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(TcpPortTest, WhatCannotBeConnectedTo) {
  Side client(there_->OpenStreamPort({}));
  for (const char* address : {"10.0.0.1:0", "0.0.0.0:80", "[::]:80", "224.0.0.5:80",
                              "10.0.0.255:80", "255.255.255.255:80", "[ff02::5]:80"}) {
    EXPECT_EQ(client.port().Connect(Parse(address)).status().code(),
              absl::StatusCode::kInvalidArgument)
        << address;
  }
  EXPECT_EQ(client.port().Connect(Parse("192.0.2.1:80")).status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(client.port().Listen(Parse("10.0.0.1:80"), 1).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(TcpPortTest, BuffersAreSentAsTheyAre) {
  Side server(here_->OpenStreamPort({}));
  Side client(there_->OpenStreamPort({}));
  ASSERT_TRUE(server.port().Listen(Parse("10.0.0.1:80"), 4).ok());
  const StreamId stream = client.port().Connect(Parse("10.0.0.1:80")).value();
  ASSERT_TRUE(Until({&server, &client}, [&] { return client.connected == 1; }));
  StreamPort& port = client.port();
  const auto filled = [](Buffer buffer, size_t n, char c) {
    std::memset(buffer.Append(n), c, n);
    return buffer;
  };
  Buffer buffer = filled(port.pool().Allocate(), 1000, 'a');
  EXPECT_GE(buffer.headroom(), port.capabilities().headroom_bytes);
  EXPECT_TRUE(port.SendBuffer(stream, &buffer));
  EXPECT_FALSE(buffer);
  EXPECT_EQ(port.stats().copied_buffers.value(), 0u);
  // A small one, one that somebody else has too, one without room for headers.
  BufferPool bare({.count = 2, .bytes = 1024, .headroom = 0});
  buffer = filled(port.pool().Allocate(), 10, 'b');
  EXPECT_TRUE(port.SendBuffer(stream, &buffer));
  buffer = filled(port.pool().Allocate(), 1000, 'c');
  const Buffer kept = buffer.Share();
  EXPECT_TRUE(port.SendBuffer(stream, &buffer));
  buffer = filled(bare.Allocate(), 1000, 'd');
  EXPECT_TRUE(port.SendBuffer(stream, &buffer));
  EXPECT_EQ(port.stats().copied_buffers.value(), 3u);
  EXPECT_EQ(port.stats().sent_bytes.value(), 3010u);
  ASSERT_TRUE(Until({&server, &client}, [&] {
    return !server.accepted.empty() && server.got[server.accepted[0].value].size() == 3010;
  }));
  EXPECT_EQ(server.got[server.accepted[0].value],
            absl::StrCat(std::string(1000, 'a'), std::string(10, 'b'), std::string(1000, 'c'),
                         std::string(1000, 'd')));
}

// Room lies behind what was written last, and goes with it.
TEST_F(TcpPortTest, RoomStaysWhereItIsUntilItIsCommitted) {
  Side server(here_->OpenStreamPort({}));
  Side client(there_->OpenStreamPort({}));
  ASSERT_TRUE(server.port().Listen(Parse("10.0.0.1:80"), 4).ok());
  const StreamId stream = client.port().Connect(Parse("10.0.0.1:80")).value();
  ASSERT_TRUE(Until({&server, &client}, [&] { return client.connected == 1; }));
  StreamPort& port = client.port();
  const auto reserve = [&] {
    const absl::Span<uint8_t> room = port.Reserve(stream, 4);
    EXPECT_EQ(room.size(), 4u);
    return room;
  };
  std::memcpy(reserve().data(), "one ", 4);
  port.Commit(stream, 4);
  const absl::Span<uint8_t> room = reserve();
  port.Flush();
  std::memcpy(room.data(), "two ", 4);
  port.Commit(stream, 4);
  port.Flush();
  // What is not committed before the next Poll() is gone, and nothing else with it.
  std::memcpy(reserve().data(), "lost", 4);
  client.Poll();
  port.Commit(stream, 4);
  std::memcpy(reserve().data(), "four", 4);
  port.Commit(stream, 4);
  ASSERT_TRUE(Until({&server, &client}, [&] {
    return !server.accepted.empty() && server.got[server.accepted[0].value].size() == 12;
  }));
  EXPECT_EQ(server.got[server.accepted[0].value], "one two four");
}

TEST_F(TcpPortTest, WhatIsWrongWithTheConfigurationIsSaid) {
  config::Netstack netstack;
  netstack.add_addresses("10.0.0.9/24");
  config::Tcp config;
  config.set_congestion_control("cubik");
  const auto transport = TcpTransport::Open(
      *netstack::NetstackTransport::Open(sim::OpenTransport(&network_), netstack, 1), config);
  EXPECT_EQ(transport.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(transport.status().message().find("tcp.congestion_control"), std::string::npos)
      << transport.status();
  EXPECT_TRUE(here_->capabilities().streams && here_->capabilities().datagrams);
  EXPECT_EQ(here_->OpenStreamPort({.queue = 2, .queues = 2}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace weft::tcp
