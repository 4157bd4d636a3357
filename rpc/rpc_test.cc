// SPDX-License-Identifier: Apache-2.0
//
// Client and server over a simulated network that behaves.

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/task_group.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rpc {
namespace {

using std::string_literals::operator""s;
using Result = absl::StatusOr<BufferChain>;

absl::Span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// A text of `size` bytes in which no part looks like another.
std::string Text(size_t size) {
  std::string text(size, '\0');
  uint32_t state = static_cast<uint32_t>(size);
  for (char& c : text) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  return text;
}

class RpcTest : public testing::Test {
 protected:
  void SetUp() override { transport_ = sim::OpenTransport(&network_); }

  std::unique_ptr<DatagramPort> OpenPort(const std::string& name) {
    auto port = transport_->OpenDatagramPort({.local = Address::Sim(name)});
    EXPECT_TRUE(port.ok()) << port.status();
    return *std::move(port);
  }
  template <typename F>
  void Serve(F handler, const ServerOptions& options = {}) {
    auto server = Server::Create(loop_, OpenPort("server"), options, std::move(handler));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  void ServeEcho(const ServerOptions& options = {}) {
    Serve([](ServerCall call) { EXPECT_TRUE(call.Reply(std::move(call.request())).ok()); },
          options);
  }
  void Connect(ClientOptions options = {}) {
    options.wire = Wire::kOriginal;
    auto client = Client::Create(loop_, OpenPort("client"), options);
    ASSERT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
    peer_ = *client_->Resolve(Address::Sim("server"));
  }

  // Runs until `done`, or for a virtual minute.
  bool RunUntil(const std::function<bool()>& done) {
    return RunVirtual(network_, {&loop_}, done, network_.NowNs() + 60'000'000'000);
  }
  void RunFor(int64_t ns) {
    bool over = false;
    Timer timer([](void* flag, int64_t) { *static_cast<bool*>(flag) = true; }, &over);
    loop_.timers().Schedule(timer, network_.NowNs() + ns);
    RunVirtual(network_, {&loop_}, [&] { return over; });
  }
  // Makes a call and runs it to its end.
  Result Call(const std::string& request, const CallOptions& options = {}) {
    std::optional<Result> result;
    const absl::StatusOr<CallId> begun = client_->Call(
        peer_, Bytes(request), [&](Result r) { result = std::move(r); }, options);
    if (!begun.ok()) return begun.status();
    EXPECT_TRUE(RunUntil([&] { return result.has_value(); }));
    return *std::move(result);
  }

  // A port that speaks for itself.
  void SendRaw(DatagramPort& port, const Address& to, absl::Span<const uint8_t> bytes) {
    Datagram datagram[1] = {{*port.Resolve(to), port.pool().Allocate()}};
    if (!bytes.empty())
      std::memcpy(datagram[0].buffer.Append(bytes.size()), bytes.data(), bytes.size());
    ASSERT_EQ(port.Send(absl::MakeSpan(datagram)), 1u);
  }
  void SendRaw(DatagramPort& port, const Address& to, const Header& header,
               const std::string& payload) {
    std::string bytes(kHeaderBytes, '\0');
    WriteHeader(header, reinterpret_cast<uint8_t*>(bytes.data()));
    SendRaw(port, to, Bytes(bytes + payload));
  }
  // The next packet that arrives at `port`.
  Header ReceiveRaw(DatagramPort& port, std::string* payload = nullptr) {
    Datagram datagram[1];
    EXPECT_TRUE(RunUntil([&] { return port.Receive(absl::MakeSpan(datagram)) == 1; }));
    Header header;
    EXPECT_TRUE(ReadHeader(datagram[0].buffer.bytes(), &header));
    if (payload != nullptr) {
      payload->assign(datagram[0].buffer.bytes().begin() + kHeaderBytes,
                      datagram[0].buffer.bytes().end());
    }
    return header;
  }

  sim::Network network_{1};
  std::unique_ptr<Transport> transport_;
  Loop loop_{{}, network_};
  std::unique_ptr<Server> server_;
  std::unique_ptr<Client> client_;
  Peer peer_;
};

TEST_F(RpcTest, EchoOfEverySizeAroundThePacketBounds) {
  ServeEcho();
  Connect();
  for (size_t size :
       {0, 1, 13, 14, 15, 1463, 1464, 1465, 1477, 1478, 1479, 2928, 2942, 2943, 100'000}) {
    const std::string request = Text(size);
    const Result reply = Call(request);
    ASSERT_TRUE(reply.ok()) << size << ": " << reply.status();
    EXPECT_TRUE(reply->ToString() == request) << size;
  }
  EXPECT_EQ(client_->port().pool().available(), client_->port().pool().count());
  EXPECT_EQ(server_->port().pool().available(), server_->port().pool().count());
  EXPECT_EQ(server_->incomplete(), 0u);
}

TEST_F(RpcTest, LargestMessages) {
  static constexpr size_t kLargestRequest = 14 + 253 * 1464;
  static constexpr size_t kLargestReply = 254 * 1464;
  static_assert(kLargestRequest == 370'406 && kLargestReply == 371'856);
  Serve([](ServerCall call) {
    EXPECT_EQ(call.request().size(), kLargestRequest);
    EXPECT_EQ(call.Reply(Bytes(Text(kLargestReply + 1))).code(),
              absl::StatusCode::kInvalidArgument);
    EXPECT_TRUE(call.Reply(Bytes(Text(kLargestReply))).ok());
  });
  Connect();
  EXPECT_EQ(Call(Text(kLargestRequest + 1)).status().message(),
            "a request of 370407 bytes takes 255 packets; message_packets_max allows 254");
  const Result reply = Call(Text(kLargestRequest));
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_TRUE(reply->ToString() == Text(kLargestReply));
  EXPECT_EQ(client_->outstanding(), 0u);
}

TEST_F(RpcTest, AReplyLongerThanTheClientAllowsFailsTheCall) {
  Serve([](ServerCall call) { EXPECT_TRUE(call.Reply(Bytes(Text(3 * 1464))).ok()); });
  Connect({.message_packets_max = 2});
  EXPECT_EQ(Call("x").status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(client_->outstanding(), 0u);
}

TEST_F(RpcTest, ManyCallsAtOnceEachGetTheirOwnReply) {
  ServeEcho();
  Connect({.outstanding_max = 300});
  int ended = 0;
  for (int i = 0; i < 300; ++i) {
    const std::string request = "request " + std::to_string(i);
    ASSERT_TRUE(client_
                    ->Call(peer_, Bytes(request),
                           [&ended, request](Result reply) {
                             ++ended;
                             ASSERT_TRUE(reply.ok()) << reply.status();
                             EXPECT_EQ(reply->ToString(), request);
                           })
                    .ok());
  }
  const absl::Status refused = client_->Call(peer_, Bytes(""), [](Result) { FAIL(); }).status();
  EXPECT_EQ(refused.message(), "300 calls are outstanding, as many as outstanding_max allows");
  EXPECT_TRUE(RunUntil([&] { return ended == 300; }));
  EXPECT_EQ(client_->stats().replies, 300u);
  EXPECT_EQ(client_->outstanding(), 0u);
}

TEST_F(RpcTest, ACallbackMayCallAgain) {
  ServeEcho();
  Connect();
  int left = 1000;
  std::function<void(Result)> again = [&](Result reply) {
    ASSERT_TRUE(reply.ok());
    if (--left == 0) return;
    ASSERT_TRUE(client_->Call(peer_, Bytes("ping"), again).ok());
  };
  ASSERT_TRUE(client_->Call(peer_, Bytes("ping"), again).ok());
  EXPECT_TRUE(RunUntil([&] { return left == 0; }));
}

TEST_F(RpcTest, BuffersTravelWithoutACopy) {
  const uint8_t* seen = nullptr;
  Serve([&](ServerCall call) {
    Buffer reply = call.request().PopFront();
    seen = reply.data();
    EXPECT_TRUE(call.Reply(std::move(reply)).ok());
  });
  Connect();
  Buffer request = client_->Allocate();
  std::memcpy(request.Append(5), "hello", 5);
  bool ended = false;
  ASSERT_TRUE(client_
                  ->Call(peer_, std::move(request),
                         [&](Result reply) {
                           ended = true;
                           EXPECT_EQ(reply->ToString(), "hello");
                         })
                  .ok());
  EXPECT_TRUE(RunUntil([&] { return ended; }));
  EXPECT_NE(seen, nullptr);
}

TEST_F(RpcTest, WithoutAnAnswerTheCallTimesOutWhenItShould) {
  Serve([](ServerCall) {});
  Connect();
  const int64_t begun_ns = network_.NowNs();
  EXPECT_EQ(Call("x", {.timeout = absl::Milliseconds(7)}).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_GE(network_.NowNs() - begun_ns, 7'000'000);
  EXPECT_LE(network_.NowNs() - begun_ns, 7'010'000);
  EXPECT_EQ(client_->stats().timeouts, 1u);
  EXPECT_EQ(server_->stats().unanswered, 1u);
}

TEST_F(RpcTest, ALateReplyIsIgnored) {
  std::optional<ServerCall> held;
  Serve([&](ServerCall call) { held.emplace(std::move(call)); });
  Connect();
  EXPECT_FALSE(Call("x", {.timeout = absl::Milliseconds(1)}).ok());
  EXPECT_TRUE(held->Reply(Bytes("late")).ok());
  held.reset();
  RunFor(1'000'000);
  EXPECT_EQ(client_->stats().unexpected, 1u);
  EXPECT_EQ(server_->stats().replies, 1u);
}

TEST_F(RpcTest, FlowControlOfTheApplicationRefusesWithDrop) {
  ServeEcho();
  server_->set_admission(
      [](Peer, absl::Span<const uint8_t> first) { return !first.empty() && first[0] == 'a'; });
  Connect();
  EXPECT_TRUE(Call("accepted").ok());
  EXPECT_EQ(Call("refused").status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Call(std::string(5000, 'r')).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(Call(std::string(5000, 'a')).ok());
  EXPECT_EQ(client_->stats().drops, 2u);
  EXPECT_EQ(server_->stats().refused, 2u);
}

TEST_F(RpcTest, ARequestThatCouldNeverBeHeldIsRefusedAtOnce) {
  ServeEcho({.message_packets_max = 60000});
  const auto held_max = static_cast<uint16_t>(server_->port().pool().count() / 2);
  const auto raw = OpenPort("raw");
  Header header{.type = MessageType::kRequest, .first = true, .request_id = 1};
  header.packet_order = static_cast<uint16_t>(held_max + 1);
  SendRaw(*raw, Address::Sim("server"), header, "x");
  EXPECT_EQ(ReceiveRaw(*raw).type, MessageType::kDrop);
  EXPECT_EQ(server_->incomplete(), 0u);
  header.packet_order = held_max;
  SendRaw(*raw, Address::Sim("server"), header, "x");
  EXPECT_EQ(ReceiveRaw(*raw).type, MessageType::kAck);
}

TEST_F(RpcTest, ANullBufferIsNoReply) {
  Serve([](ServerCall call) {
    EXPECT_EQ(call.Reply(Buffer()).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_TRUE(call.Reply(Bytes("another")).ok());
  });
  Connect();
  const Result reply = Call("x");
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->ToString(), "another");
}

TEST_F(RpcTest, AHandlerMayRefuse) {
  Serve([](ServerCall call) { call.Drop(); });
  Connect();
  EXPECT_EQ(Call("x").status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(RpcTest, PoliciesReachTheServerAndReplicationIsRefused) {
  std::vector<Policy> seen;
  Serve([&](ServerCall call) {
    seen.push_back(call.policy());
    EXPECT_TRUE(call.Reply(Bytes("")).ok());
  });
  Connect();
  EXPECT_TRUE(Call("", {.policy = Policy::kLbRoute}).ok());
  EXPECT_TRUE(Call(Text(4000), {.policy = Policy::kFixedRoute}).ok());
  EXPECT_EQ(Call("", {.policy = Policy::kReplicatedRoute}).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Call("", {.policy = Policy::kReplicatedRouteNoSe}).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(seen, (std::vector{Policy::kLbRoute, Policy::kFixedRoute}));
}

TEST_F(RpcTest, AReplyMayComeFromAnotherAddress) {
  Connect();
  auto asked = OpenPort("server");
  auto answers = OpenPort("elsewhere");
  std::optional<Result> result;
  ASSERT_TRUE(client_->Call(peer_, Bytes("x"), [&](Result r) { result = std::move(r); }).ok());
  const Header request = ReceiveRaw(*asked);
  SendRaw(*answers, Address::Sim("client"),
          {.type = MessageType::kResponse,
           .first = true,
           .last = true,
           .request_id = request.request_id},
          "y");
  EXPECT_TRUE(RunUntil([&] { return result.has_value(); }));
  EXPECT_EQ((*result)->ToString(), "y");
}

TEST_F(RpcTest, TheRestOfARequestGoesToWhoeverAcknowledged) {
  Connect();
  auto router = OpenPort("server");
  auto chosen = OpenPort("chosen");
  std::optional<Result> result;
  const std::string text = Text(4000);
  ASSERT_TRUE(client_->Call(peer_, Bytes(text), [&](Result r) { result = std::move(r); }).ok());
  std::string payload;
  const Header first = ReceiveRaw(*router, &payload);
  EXPECT_EQ(first, (Header{.policy = Policy::kLbRoute,
                           .first = true,
                           .request_id = first.request_id,
                           .packet_order = 4}));
  std::string request = payload;
  EXPECT_EQ(request.size(), 14u);
  const Header ack{
      .type = MessageType::kAck, .first = true, .last = true, .request_id = first.request_id};
  SendRaw(*chosen, Address::Sim("client"), ack, "ACK");
  SendRaw(*chosen, Address::Sim("client"), ack, "ACK");  // a duplicate is ignored
  for (uint16_t i = 1; i <= 3; ++i) {
    const Header rest = ReceiveRaw(*chosen, &payload);
    EXPECT_EQ(rest, (Header{.policy = Policy::kLbRoute,
                            .last = i == 3,
                            .request_id = first.request_id,
                            .packet_order = i}));
    request += payload;
  }
  EXPECT_TRUE(request == text);
  SendRaw(
      *chosen, Address::Sim("client"),
      {.type = MessageType::kResponse, .first = true, .last = true, .request_id = first.request_id},
      "done");
  EXPECT_TRUE(RunUntil([&] { return result.has_value(); }));
  EXPECT_EQ((*result)->ToString(), "done");
  EXPECT_EQ(client_->stats().unexpected, 1u);
}

TEST_F(RpcTest, NonsenseLeavesTheServerServing) {
  ServeEcho();
  Connect();
  auto hostile = OpenPort("hostile");
  const Address server = Address::Sim("server");
  for (size_t size = 0; size <= 7; ++size)
    SendRaw(*hostile, server, Bytes("\xcc\x08\x00\xc0\x00\x01\x00"s.substr(0, size)));
  for (int types = 0; types < 256; ++types) {
    for (int flags : {0, 0x40, 0x80, 0xC0, 0xFF}) {
      for (int order : {0, 1, 2, 255, 65535}) {
        const uint8_t bytes[] = {
            0xCC, 8, static_cast<uint8_t>(types),      static_cast<uint8_t>(flags),
            1,    2, static_cast<uint8_t>(order >> 8), static_cast<uint8_t>(order),
            'x'};
        SendRaw(*hostile, server, bytes);
        RunFor(1000);
      }
    }
  }
  const uint8_t magic[] = {0xCD, 8, 0, 0xC0, 0, 1, 0, 1};
  const uint8_t header_size[] = {0xCC, 16, 0, 0xC0, 0, 1, 0, 1};
  SendRaw(*hostile, server, magic);
  SendRaw(*hostile, server, header_size);
  RunFor(1'000'000);
  EXPECT_GT(server_->stats().malformed, 1000u);
  EXPECT_GT(server_->stats().unexpected, 100u);
  EXPECT_TRUE(Call("still there").ok());
  EXPECT_TRUE(Call(Text(5000)).ok());
}

TEST_F(RpcTest, TwoThousandHalfOpenRequestsLeaveTheServerServing) {
  ServeEcho({.messages_max = 100,
             .messages_per_peer_max = 30,
             .reassembly_timeout = absl::Milliseconds(5)});
  Connect();
  std::vector<std::unique_ptr<DatagramPort>> hostile;
  for (int i = 0; i < 10; ++i) {
    hostile.push_back(OpenPort("hostile" + std::to_string(i)));
    for (int id = 0; id < 200; ++id) {
      SendRaw(*hostile.back(), Address::Sim("server"),
              {.first = true, .request_id = static_cast<uint16_t>(id), .packet_order = 254},
              "fourteen bytes");
      RunFor(1000);
    }
  }
  RunFor(100'000);
  EXPECT_EQ(server_->incomplete(), 100u);
  EXPECT_EQ(server_->stats().refused, 10u * 170);
  EXPECT_EQ(server_->stats().evicted, 200u);
  EXPECT_TRUE(Call("short").ok());
  EXPECT_TRUE(Call(Text(100'000)).ok());
  RunFor(6'000'000);
  EXPECT_EQ(server_->incomplete(), 0u);
  EXPECT_GT(server_->stats().expired, 0u);
}

TEST_F(RpcTest, ARepeatedFirstPacketIsAcknowledgedAgainAndExecutedOnce) {
  int executed = 0;
  Serve([&](ServerCall call) {
    ++executed;
    EXPECT_TRUE(call.Reply(std::move(call.request())).ok());
  });
  auto client = OpenPort("client");
  const Header first{.first = true, .request_id = 9, .packet_order = 2};
  for (int i = 0; i < 2; ++i) {
    SendRaw(*client, Address::Sim("server"), first, "fourteen bytes");
    std::string payload;
    const Header ack = ReceiveRaw(*client, &payload);
    EXPECT_EQ(ack,
              (Header{.type = MessageType::kAck, .first = true, .last = true, .request_id = 9}));
    EXPECT_EQ(payload, "ACK");
  }
  for (int i = 0; i < 2; ++i) {
    SendRaw(*client, Address::Sim("server"), {.last = true, .request_id = 9, .packet_order = 1},
            "!");
  }
  std::string payload;
  EXPECT_EQ(ReceiveRaw(*client, &payload).type, MessageType::kResponse);
  EXPECT_EQ(payload, "fourteen bytes!");
  RunFor(1'000'000);
  EXPECT_EQ(executed, 1);
  EXPECT_EQ(server_->stats().duplicates, 1u);
  EXPECT_EQ(server_->stats().unexpected, 1u);
}

Task<void> Twice(Client& client, Peer server, std::string* out) {
  const std::string request = "once";
  Result first = co_await client.Call(server, Bytes(request));
  if (!first.ok()) co_return;
  Buffer again = client.Allocate();
  first->CopyTo({again.Append(first->size()), first->size()});
  Result second = co_await client.Call(server, std::move(again));
  *out = second.ok() ? second->ToString() : second.status().ToString();
}

TEST_F(RpcTest, CoroutinesOnBothSides) {
  Serve([](ServerCall call) -> Task<void> {
    co_await call.loop().Sleep(absl::Microseconds(30));
    EXPECT_TRUE(call.Reply(std::move(call.request())).ok());
  });
  Connect();
  TaskGroup tasks;
  std::string out;
  tasks.Spawn(Twice(*client_, peer_, &out));
  EXPECT_TRUE(RunUntil([&] { return tasks.size() == 0; }));
  EXPECT_EQ(out, "once");
  EXPECT_GE(network_.NowNs(), 60'000);
}

TEST_F(RpcTest, AnErrorAtTheBeginningResumesTheCoroutineAtOnce) {
  Connect({.message_packets_max = 1});
  TaskGroup tasks;
  absl::Status status;
  tasks.Spawn([](Client& client, Peer server, absl::Status* status) -> Task<void> {
    const std::string request(2000, 'x');
    *status = (co_await client.Call(server, Bytes(request))).status();
  }(*client_, peer_, &status));
  EXPECT_EQ(tasks.size(), 0u);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(RpcTest, DestroyingACoroutineCancelsItsCall) {
  ServeEcho();
  Connect();
  TaskGroup tasks;
  std::string out = "untouched";
  tasks.Spawn(Twice(*client_, peer_, &out));
  EXPECT_EQ(client_->outstanding(), 1u);
  tasks.Cancel();
  EXPECT_EQ(client_->outstanding(), 0u);
  RunFor(1'000'000);
  EXPECT_EQ(client_->stats().unexpected, 1u) << "the reply that nobody waits for";
  EXPECT_EQ(out, "untouched");
  EXPECT_TRUE(Call("next").ok());
}

TEST_F(RpcTest, AServerEndsWithItsHandlersSuspended) {
  Serve([](ServerCall call) -> Task<void> {
    co_await call.loop().Sleep(absl::Hours(1));
    ADD_FAILURE();
  });
  Connect();
  bool ended = false;
  ASSERT_TRUE(client_->Call(peer_, Bytes(""), [&](Result) { ended = true; }).ok());
  RunFor(1'000'000);
  server_.reset();
  EXPECT_EQ(loop_.timers().size(), 1u) << "only the call's timeout is left";
  EXPECT_TRUE(RunUntil([&] { return ended; }));
}

TEST_F(RpcTest, WhatAServerSaysAtItsEndIsSent) {
  struct Refusal {
    ServerCall call;
    ~Refusal() { call.Drop(); }
  };
  Serve([](ServerCall call) -> Task<void> {
    Refusal refusal{std::move(call)};
    co_await refusal.call.loop().Sleep(absl::Hours(1));
  });
  Connect();
  std::optional<Result> result;
  ASSERT_TRUE(client_->Call(peer_, Bytes(""), [&](Result r) { result = std::move(r); }).ok());
  RunFor(1'000'000);
  server_.reset();
  EXPECT_TRUE(RunUntil([&] { return result.has_value(); }));
  EXPECT_EQ(client_->stats().drops, 1u);
}

TEST_F(RpcTest, AServerThatIsNotThereFailsTheCall) {
  Connect();
  const int64_t begun_ns = network_.NowNs();
  EXPECT_EQ(Call("x").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_LT(network_.NowNs() - begun_ns, 1'000'000) << "before the timeout";
}

TEST_F(RpcTest, OptionsThatMakeNoSenseAreRefused) {
  const auto client_error = [&](const ClientOptions& options) {
    return std::string(Client::Create(loop_, OpenPort("c"), options).status().message());
  };
  EXPECT_EQ(client_error({.outstanding_max = 0}), "outstanding_max is 0; it must be 1 to 32768");
  EXPECT_EQ(client_error({.outstanding_max = 40000}),
            "outstanding_max is 40000; it must be 1 to 32768");
  EXPECT_EQ(client_error({.message_packets_max = 70000}),
            "message_packets_max is 70000; it must be 1 to 65535");
  EXPECT_EQ(client_error({.timeout = absl::ZeroDuration()}), "timeout must be greater than zero");
  const auto server = Server::Create(loop_, OpenPort("s"), {.messages_max = 0}, [](ServerCall) {});
  EXPECT_EQ(server.status().message(), "messages_max and messages_per_peer_max must be at least 1");
}

}  // namespace
}  // namespace weft::rpc
