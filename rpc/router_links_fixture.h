// SPDX-License-Identifier: Apache-2.0
//
// For tests: a server in a simulated network and its routers, of which the tests play the part
// packet by packet.
#ifndef WEFT_RPC_ROUTER_LINKS_FIXTURE_H_
#define WEFT_RPC_ROUTER_LINKS_FIXTURE_H_

#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"
#include "weft/r2p2/route_wire.h"
#include "weft/rpc/extended_server_fixture.h"
#include "weft/rpc/router_link.h"

namespace weft::rpc {

inline std::string Original(uint16_t rid, std::string_view body, Policy policy = Policy::kLbRoute) {
  std::string bytes(kHeaderBytes, '\0');
  WriteHeader({.policy = policy, .first = true, .last = true, .request_id = rid},
              reinterpret_cast<uint8_t*>(bytes.data()));
  return bytes.append(body);
}

inline std::string Routed(const Address& client, std::string_view datagram) {
  std::string bytes(RouteBytes(client), '\0');
  WriteRoute(client, Bytes(datagram), reinterpret_cast<uint8_t*>(bytes.data()));
  return bytes.append(datagram);
}

inline std::string Control(ControlKind kind, uint32_t session, uint32_t from_session, uint32_t key,
                           std::string_view body = "", DropReason code = DropReason::kNone) {
  std::string bytes(kExtendedHeaderBytes, '\0');
  WriteExtendedHeader({.type = MessageType::kAck,
                       .first = true,
                       .last = true,
                       .session = session,
                       .from_session = from_session,
                       .key = key,
                       .kind = kind,
                       .code = code},
                      reinterpret_cast<uint8_t*>(bytes.data()));
  return bytes.append(body);
}

// One end of the network that says what it is told to.
class Host {
 public:
  Host(Transport& transport, const std::string& name)
      : address(Address::Sim(name)), port(*transport.OpenDatagramPort({.local = address})) {}

  void Send(std::string_view bytes, const Address& to = Address::Sim("server")) {
    Datagram datagram[1] = {{*port->Resolve(to), port->pool().Allocate()}};
    std::memcpy(datagram[0].buffer.Append(bytes.size()), bytes.data(), bytes.size());
    ASSERT_EQ(port->Send(absl::MakeSpan(datagram)), 1u);
  }
  std::optional<std::string> TryReceive() {
    Datagram datagram[1];
    if (port->Receive(absl::MakeSpan(datagram)) == 0) return std::nullopt;
    const absl::Span<const uint8_t> bytes = datagram[0].buffer.bytes();
    return std::string(bytes.begin(), bytes.end());
  }

  const Address address;
  const std::unique_ptr<DatagramPort> port;
};

class RouterLinksTest : public ExtendedServerTest {
 protected:
  using State = RouterState;
  static constexpr int64_t kMs = 1'000'000;

  static ServerOptions Behind(std::vector<std::string> routers, bool join = false) {
    ServerOptions options;
    for (const std::string& router : routers) {
      options.router.control.push_back(Address::Sim(router));
    }
    options.router.join = join;
    return options;
  }

  std::string Receive(Host& host) {
    std::optional<std::string> bytes;
    EXPECT_TRUE(RunUntil([&] {
      if (!bytes.has_value()) bytes = host.TryReceive();
      return bytes.has_value();
    }));
    return bytes.value_or("");
  }
  bool Silent(Host& host, absl::Duration time = absl::Milliseconds(1)) {
    RunFor(time);
    return !host.TryReceive().has_value();
  }
  // Throws away what has arrived.
  void Clear(Host& host) {
    while (host.TryReceive().has_value()) {
    }
  }

  // The next FEEDBACK: its entries.
  std::vector<FeedbackEntry> ReceiveFeedback(Host& router) {
    const std::string bytes = Receive(router);
    FeedbackBatch batch;
    EXPECT_TRUE(ReadFeedbackBatch(Bytes(bytes), &batch)) << bytes.size();
    std::vector<FeedbackEntry> entries;
    for (size_t i = 0; i < batch.count; ++i) entries.push_back(ReadFeedbackEntry(Bytes(bytes), i));
    return entries;
  }
  static uint64_t Key(const Address& client, uint16_t rid) {
    return RequestKey(ClientIdOf(client), 0, rid);
  }

  struct Asked {
    ExtendedHeader header;
    Membership body;
  };
  // The next JOIN or LEAVE; others are passed over.
  Asked ReceiveAsked(Host& router, ControlKind kind) {
    for (int i = 0; i < 1000; ++i) {
      const std::string bytes = Receive(router);
      Asked asked;
      if (!ReadExtendedHeader(Bytes(bytes), &asked.header) || asked.header.kind != kind) continue;
      EXPECT_TRUE(ReadMembership(Bytes(bytes).subspan(kExtendedHeaderBytes), &asked.body));
      EXPECT_EQ(asked.header.session, 0u);
      EXPECT_NE(asked.header.from_session, 0u);
      EXPECT_NE(asked.header.key, 0u);
      return asked;
    }
    ADD_FAILURE() << "none comes";
    return {};
  }
  void Answer(Host& router, const Asked& asked, ControlKind kind, uint32_t outstanding = 0,
              DropReason code = DropReason::kNone, uint32_t keepalive_us = 50'000) {
    std::string body(kMembershipAckBytes, '\0');
    WriteMembershipAck({.incarnation = 4711,
                        .server = asked.body.incarnation,
                        .outstanding = outstanding,
                        .keepalive_us = keepalive_us},
                       reinterpret_cast<uint8_t*>(body.data()));
    router.Send(Control(kind, asked.header.from_session, 0, asked.header.key, body, code));
  }
  Asked Join(Host& router) {
    Asked asked = ReceiveAsked(router, ControlKind::kJoin);
    Answer(router, asked, ControlKind::kJoinAck);
    EXPECT_TRUE(RunUntil([&] { return StateOf(router) == State::kJoined; }));
    return asked;
  }
  RouterInfo InfoOf(const Host& router) {
    RouterInfo found;
    server_->ForEachRouter([&](const RouterInfo& info) {
      if (info.control == router.address) found = info;
    });
    return found;
  }
  State StateOf(const Host& router) { return InfoOf(router).state; }

  Host router_{*transport_, "router"};
  Host other_router_{*transport_, "router2"};
  Host user_{*transport_, "user"};
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_ROUTER_LINKS_FIXTURE_H_
