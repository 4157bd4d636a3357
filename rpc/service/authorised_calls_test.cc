// SPDX-License-Identifier: Apache-2.0
//
// Who may call what, by the key that he has: of typed services, streams and servers without types.
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/rpc/call_status.h"
#include "weft/rpc/security/secure_fixture.h"
#include "weft/rpc/server.h"
#include "weft/rpc/service/echo_service.h"
#include "weft/rpc/service/service_fixture.h"

namespace weft::rpc {
namespace {

using testing::EchoClient;
using testing::EchoRequest;
using testing::EchoResponse;
using testing::EchoServer;

class AuthorisedCallsTest : public ::testing::Test {
 protected:
  // Everybody's key; a rule "METHOD PEER" for each word pair.
  std::shared_ptr<const Security> ServerSecurity(
      std::initializer_list<std::pair<const char*, const char*>> rules) {
    std::string peers;
    for (const char* name : {"admin", "reader", "guest"}) {
      absl::StrAppend(&peers, name, ":", KeyOf(name), "\n");
    }
    config::Security config = PskConfig(files_, "", "", peers);
    for (const auto& [method, peer] : rules) {
      config::Allow& rule = *config.add_allow();
      rule.set_method(method);
      rule.set_peer(peer);
    }
    return MustOpen(config);
  }
  static std::string KeyOf(const std::string& name) {
    return TestKey("0123456789abcdef"[name[0] % 16]);
  }
  std::unique_ptr<Client> ClientOf(const std::string& name, Wire wire = Wire::kAuto) {
    return net_.MakeClient(
        name, {.wire = wire, .security = MustOpen(PskConfig(files_, name, KeyOf(name)))});
  }
  void ServeTyped(std::initializer_list<std::pair<const char*, const char*>> rules) {
    auto server = net_.Serve("server", {&echo_}, {}, {.security = ServerSecurity(rules)});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  // What comes of asking for the service's method Echo, in the name of its key.
  absl::Status Echo(const std::string& name) {
    const auto client = ClientOf(name);
    Channel channel(*client, *client->Resolve(Address::Sim("server")));
    EchoClient stub(channel);
    return net_.Run(EchoOnce(stub));
  }
  static Task<absl::Status> EchoOnce(EchoClient& stub) {
    EchoRequest request;
    request.set_text("x");
    EchoResponse response;
    co_return co_await stub.Echo(request, &response);
  }
  // Of a server without types.
  absl::Status Call(const std::string& name, Wire wire) {
    const auto client = ClientOf(name, wire);
    return net_.Run(CallOnce(*client, *client->Resolve(Address::Sim("raw")))).status();
  }
  static Task<absl::StatusOr<BufferChain>> CallOnce(Client& client, Peer server) {
    const uint8_t request[1] = {};
    co_return co_await client.Call(server, request);
  }

  TestFiles files_;
  ServiceFixture net_;
  EchoServer echo_;
  std::unique_ptr<ServiceServer> server_;
};

TEST_F(AuthorisedCallsTest, WithoutRulesEveryPeerMayCallEverything) {
  ServeTyped({});
  EXPECT_TRUE(Echo("guest").ok());
  EXPECT_EQ(server_->stats().forbidden, 0u);
}

TEST_F(AuthorisedCallsTest, OnlyWhomARuleAllows) {
  ServeTyped({{"weft.rpc.testing.Echo/Echo", "reader"}, {"*", "admin"}});
  EXPECT_TRUE(Echo("admin").ok());
  EXPECT_TRUE(Echo("reader").ok());
  const absl::Status refused = Echo("guest");
  EXPECT_TRUE(absl::IsPermissionDenied(refused)) << refused;
  EXPECT_TRUE(WasNotExecuted(refused));
  EXPECT_TRUE(absl::StrContains(refused.message(), "'guest' may not call")) << refused;
  EXPECT_EQ(server_->stats().forbidden, 1u);
  EXPECT_EQ(echo_.begun, 2);
}

TEST_F(AuthorisedCallsTest, AMethodThatNoRuleNamesIsNobodys) {
  ServeTyped({{"other.Service/*", "*"}});
  EXPECT_TRUE(absl::IsPermissionDenied(Echo("admin")));
  EXPECT_EQ(echo_.begun, 0);
}

TEST_F(AuthorisedCallsTest, AServerWithoutTypesHasTheRulesForAll) {
  int handled = 0;
  std::string identity;
  const auto server =
      *Server::Create(net_.loop(), net_.OpenPort("raw"),
                      {.security = ServerSecurity({{"*", "admin"}, {"some.Service/*", "guest"}})},
                      [&](ServerCall call) {
                        ++handled;
                        identity = std::string(call.identity());
                        (void)call.Reply(std::move(call.request()));
                      });
  EXPECT_TRUE(Call("admin", Wire::kExtended).ok());
  EXPECT_EQ(identity, "admin");
  const absl::Status refused = Call("guest", Wire::kExtended);
  EXPECT_TRUE(absl::IsPermissionDenied(refused)) << refused;
  EXPECT_TRUE(WasNotExecuted(refused));
  EXPECT_TRUE(Call("admin", Wire::kOriginal).ok());
  EXPECT_FALSE(Call("reader", Wire::kOriginal).ok()) << "DROP";
  EXPECT_EQ(handled, 2);
  EXPECT_EQ(server->stats().refused_forbidden, 2u);
  EXPECT_EQ(server->stats().refused, 2u);
}

}  // namespace
}  // namespace weft::rpc
