// SPDX-License-Identifier: Apache-2.0
//
// Client and server in the extended format, over a simulated network.
#include <memory>
#include <optional>
#include <string>

#include "gtest/gtest.h"
#include "weft/core/virtual_time.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rpc {
namespace {

using Result = absl::StatusOr<BufferChain>;

absl::Span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

class ReliableTest : public testing::Test {
 protected:
  void Start(const ClientOptions& client = {}, const ServerOptions& server = {}) {
    server_ = *Server::Create(loop_, Open("server"), server, [this](ServerCall call) {
      ++executed_;
      EXPECT_TRUE(call.Reply(std::move(call.request())).ok());
    });
    client_ = *Client::Create(loop_, Open("client"), client);
    peer_ = *client_->Resolve(Address::Sim("server"));
  }
  std::unique_ptr<DatagramPort> Open(const std::string& name) {
    return *transport_->OpenDatagramPort({.local = Address::Sim(name)});
  }
  Result Call(const std::string& request, const CallOptions& options = {}) {
    std::optional<Result> result;
    const auto begun = client_->Call(
        peer_, Bytes(request), [&](Result r) { result = std::move(r); }, options);
    if (!begun.ok()) return begun.status();
    RunVirtual(network_, {&loop_}, [&] { return result.has_value(); });
    if (!result.has_value()) return absl::InternalError("the call never ended");
    return *std::move(result);
  }

  sim::Network network_{1, {.latency_ns = 5000}};
  std::unique_ptr<Transport> transport_ = sim::OpenTransport(&network_);
  Loop loop_{{}, network_};
  int executed_ = 0;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Client> client_;
  Peer peer_;
};

TEST_F(ReliableTest, ACallOpensASession) {
  Start();
  Result result = Call("hello");
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->ToString(), "hello");
  EXPECT_EQ(client_->stats().sessions_opened, 1u);
  EXPECT_EQ(client_->stats().fallbacks, 0u);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(Call("again").ok());
  EXPECT_EQ(executed_, 101);
  EXPECT_EQ(client_->stats().retransmissions, 0u);
}

}  // namespace
}  // namespace weft::rpc
