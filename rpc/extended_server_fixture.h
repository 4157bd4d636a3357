// SPDX-License-Identifier: Apache-2.0
//
// For tests: a server in a simulated network, and a client that sends what it is told to, packet by
// packet.
#ifndef WEFT_RPC_EXTENDED_SERVER_FIXTURE_H_
#define WEFT_RPC_EXTENDED_SERVER_FIXTURE_H_

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "weft/core/loop.h"
#include "weft/core/virtual_time.h"
#include "weft/rpc/server.h"
#include "weft/rpc/wire.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rpc {

inline absl::Span<const uint8_t> Bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

inline constexpr uint64_t Id(uint64_t sequence, uint16_t slot = 0) { return sequence << 16 | slot; }

struct RawPacket {
  ExtendedHeader header;
  std::string body;
};

// The client's end of one session, without any behaviour of its own.
class RawClient {
 public:
  RawClient(Transport& transport, const std::string& name, uint64_t client_id)
      : client_id(client_id),
        port(*transport.OpenDatagramPort({.local = Address::Sim(name)})),
        server(*port->Resolve(Address::Sim("server"))) {}

  void SendBytes(std::string_view bytes) {
    Datagram datagram[1] = {{server, port->pool().Allocate()}};
    std::memcpy(datagram[0].buffer.Append(bytes.size()), bytes.data(), bytes.size());
    ASSERT_EQ(port->Send(absl::MakeSpan(datagram)), 1u);
  }
  void Send(const ExtendedHeader& header, std::string_view body = "") {
    std::string bytes(kExtendedHeaderBytes, '\0');
    WriteExtendedHeader(header, reinterpret_cast<uint8_t*>(bytes.data()));
    SendBytes(bytes.append(body));
  }
  void SendHello(uint32_t nonce, const Hello& hello, size_t datagram_bytes) {
    std::string body(datagram_bytes - kExtendedHeaderBytes, '\0');
    WriteHello(hello, reinterpret_cast<uint8_t*>(body.data()));
    Send({.type = MessageType::kAck,
          .first = true,
          .last = true,
          .from_session = number,
          .key = nonce,
          .timestamp = 77,
          .kind = ControlKind::kHello},
         body);
  }
  // A header in this session.
  ExtendedHeader Header(MessageType type, uint64_t id,
                        ControlKind kind = ControlKind::kNone) const {
    return {.type = type,
            .first = true,
            .last = true,
            .session = server_number,
            .from_session = number,
            .key = key,
            .request_id = id,
            .timestamp = 5000,
            .credits = 16,
            .kind = kind};
  }
  void SendRequest(uint64_t id, std::string_view body) {
    Send(Header(MessageType::kRequest, id), body);
  }
  void SendControl(ControlKind kind, uint64_t id = 0) { Send(Header(MessageType::kAck, id, kind)); }
  std::optional<RawPacket> TryReceive() {
    Datagram datagram[1];
    if (port->Receive(absl::MakeSpan(datagram)) == 0) return std::nullopt;
    RawPacket packet;
    EXPECT_TRUE(ReadExtendedHeader(datagram[0].buffer.bytes(), &packet.header));
    packet.body.assign(datagram[0].buffer.bytes().begin() + kExtendedHeaderBytes,
                       datagram[0].buffer.bytes().end());
    return packet;
  }

  const uint64_t client_id;
  const std::unique_ptr<DatagramPort> port;
  const Peer server;
  uint32_t number = 9;
  uint32_t server_number = 0;
  uint32_t key = 0;
};

class ExtendedServerTest : public testing::Test {
 protected:
  template <typename F>
  void Serve(F handler, ServerOptions options = {}) {
    options.key_seed = 1;
    auto server =
        Server::Create(loop_, *transport_->OpenDatagramPort({.local = Address::Sim("server")}),
                       options, std::move(handler));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    server_->set_session_events([this](const SessionEvent& event) { events_.push_back(event); });
  }
  void ServeEcho(const ServerOptions& options = {}) {
    Serve([](ServerCall call) { EXPECT_TRUE(call.Reply(std::move(call.request())).ok()); },
          options);
  }
  // Keeps the calls in held_.
  void ServeHolding(const ServerOptions& options = {}) {
    Serve([this](ServerCall call) { held_.push_back(std::move(call)); }, options);
  }

  bool RunUntil(const std::function<bool()>& done) {
    return RunVirtual(network_, {&loop_}, done, network_.NowNs() + 60'000'000'000);
  }
  void RunFor(absl::Duration duration) {
    bool over = false;
    Timer timer([](void* flag, int64_t) { *static_cast<bool*>(flag) = true; }, &over);
    loop_.timers().Schedule(timer, network_.NowNs() + absl::ToInt64Nanoseconds(duration));
    RunVirtual(network_, {&loop_}, [&] { return over; });
  }

  // What arrives next at `client`.
  RawPacket Receive(RawClient& client) {
    std::optional<RawPacket> packet;
    EXPECT_TRUE(RunUntil([&] {
      if (!packet.has_value()) packet = client.TryReceive();
      return packet.has_value();
    }));
    return packet.value_or(RawPacket());
  }
  RawPacket Receive() { return Receive(client_); }
  // Nothing arrives within a millisecond.
  bool Silence(RawClient& client) {
    RunFor(absl::Milliseconds(1));
    return !client.TryReceive().has_value();
  }
  bool Silence() { return Silence(client_); }

  static constexpr Hello kHello = {.slots = 8, .packet_bytes = 1000, .timeout_us = 1'000'000};

  // Opens a session for `client`, which stays half-open.
  void Knock(RawClient& client, uint32_t nonce = 1234, const Hello& hello = kHello) {
    Hello own = hello;
    own.incarnation = client.client_id;
    client.SendHello(nonce, own, own.packet_bytes);
    const RawPacket ack = Receive(client);
    ASSERT_EQ(ack.header.kind, ControlKind::kHelloAck);
    Hello agreed;
    ASSERT_TRUE(ReadHello(Bytes(ack.body), &agreed));
    client.server_number = ack.header.from_session;
    client.key = agreed.key;
  }
  // Opens a session for `client`, which shows that it has the key.
  void Open(RawClient& client, uint32_t nonce = 1234, const Hello& hello = kHello) {
    Knock(client, nonce, hello);
    client.SendControl(ControlKind::kPing);
    ASSERT_EQ(Receive(client).header.kind, ControlKind::kPong);
  }
  void Open() { Open(client_); }

  // A request and what comes back.
  RawPacket Call(uint64_t id, std::string_view body) {
    client_.SendRequest(id, body);
    return Receive();
  }
  // A request that comes to the handler, and its call.
  ServerCall& Hold(uint64_t id, std::string_view body = "held") {
    const size_t held = held_.size();
    client_.SendRequest(id, body);
    EXPECT_TRUE(RunUntil([&] { return held_.size() > held; }));
    return held_.back();
  }

  sim::Network network_{1};
  std::unique_ptr<Transport> transport_ = sim::OpenTransport(&network_);
  Loop loop_{{}, network_};
  std::vector<SessionEvent> events_;
  std::unique_ptr<Server> server_;
  std::vector<ServerCall> held_;  // must not outlive the server
  RawClient client_{*transport_, "client", 0xC11E47};
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_EXTENDED_SERVER_FIXTURE_H_
