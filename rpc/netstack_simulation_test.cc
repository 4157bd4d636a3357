// SPDX-License-Identifier: Apache-2.0
//
// Client and server over weft's own network stack over a simulated network that loses, doubles and
// mixes up frames: every call ends once, with its own reply or an error, and no buffer is lost.
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/netstack/netstack_transport.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rpc {
namespace {

constexpr size_t kCalls = 40;

absl::Span<const uint8_t> BytesOf(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

struct Outcome {
  size_t replies = 0;
  size_t failures = 0;
  uint64_t digest = 0;
};

// Transports go after what uses them, and the network last.
class Host {
 public:
  Host(sim::Network* network, const std::string& address) {
    config::Netstack config;
    config.add_addresses(address);
    auto opened =
        netstack::NetstackTransport::Open(sim::OpenTransport(network), config, /*workers=*/1);
    EXPECT_TRUE(opened.ok()) << opened.status();
    transport_ = *std::move(opened);
  }
  std::unique_ptr<DatagramPort> Open(const Address& local) {
    auto port = transport_->OpenDatagramPort({.local = local});
    EXPECT_TRUE(port.ok()) << port.status();
    return *std::move(port);
  }

 private:
  std::unique_ptr<netstack::NetstackTransport> transport_;
};

Outcome Simulate(bool v4, double loss, size_t bytes, uint64_t seed) {
  sim::Network network(
      seed,
      {.latency_ns = 5000, .jitter_ns = 5000, .loss = loss, .duplicate = loss, .reorder = loss});
  Host server_host(&network, v4 ? "10.0.0.1/24" : "fd00::1/64");
  Host client_host(&network, v4 ? "10.0.0.2/24" : "fd00::2/64");
  const Address address = *Address::Parse(v4 ? "10.0.0.1:7000" : "[fd00::1]:7000");
  Loop loop({}, network);
  auto server = Server::Create(loop, server_host.Open(address),
                               {.reassembly_timeout = absl::Milliseconds(20), .key_seed = seed},
                               [](ServerCall call) {
                                 const std::string echo = call.request().ToString();
                                 EXPECT_TRUE(call.Reply(BytesOf(echo)).ok());
                               });
  auto client = Client::Create(loop, client_host.Open(Address()),
                               {.timeout = absl::Seconds(5), .request_id_seed = seed});
  EXPECT_TRUE(server.ok() && client.ok());
  const Peer peer = *(*client)->Resolve(address);
  Outcome outcome;
  for (size_t i = 0; i < kCalls; ++i) {
    const std::string request =
        absl::StrCat(i, std::string(bytes, static_cast<char>('a' + i % 26)));
    const absl::StatusOr<CallId> begun = (*client)->Call(
        peer, BytesOf(request), [&outcome, request](absl::StatusOr<BufferChain> reply) {
          ++(reply.ok() ? outcome.replies : outcome.failures);
          if (reply.ok()) {
            EXPECT_EQ(reply->ToString(), request);
          }
        });
    EXPECT_TRUE(begun.ok()) << begun.status();
  }
  RunVirtual(network, {&loop}, [&] { return (*client)->outstanding() == 0; });
  // Neighbours and groups are done with, too.
  RunVirtual(
      network, {&loop}, [] { return false; }, network.NowNs() + 30'000'000'000);
  EXPECT_EQ((*client)->port().pool().available(), (*client)->port().pool().count());
  EXPECT_EQ((*server)->port().pool().available(), (*server)->port().pool().count());
  outcome.digest = network.digest();
  return outcome;
}

TEST(RpcOverNetstackTest, EveryCallIsAnsweredOnAGoodNetwork) {
  for (const bool v4 : {true, false}) {
    for (const size_t bytes : {0, 1000, 20'000}) {
      const Outcome outcome = Simulate(v4, /*loss=*/0, bytes, /*seed=*/1);
      EXPECT_EQ(outcome.replies, kCalls);
      EXPECT_EQ(outcome.failures, 0u);
    }
  }
}

TEST(RpcOverNetstackTest, EveryCallEndsOnceOnABadOne) {
  size_t replies = 0;
  size_t failures = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    for (const bool v4 : {true, false}) {
      SCOPED_TRACE(absl::StrCat("seed ", seed, ", v4 ", v4));
      const Outcome outcome = Simulate(v4, /*loss=*/0.05, 3000, seed);
      EXPECT_EQ(outcome.replies + outcome.failures, kCalls);
      replies += outcome.replies;
      failures += outcome.failures;
    }
  }
  EXPECT_GT(replies, failures);
  EXPECT_GT(failures, 0u);
}

TEST(RpcOverNetstackTest, TheSameSeedIsTheSameRun) {
  EXPECT_EQ(Simulate(true, 0.05, 3000, 7).digest, Simulate(true, 0.05, 3000, 7).digest);
  EXPECT_NE(Simulate(true, 0.05, 3000, 7).digest, Simulate(true, 0.05, 3000, 8).digest);
}

}  // namespace
}  // namespace weft::rpc
