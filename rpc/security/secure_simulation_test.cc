// SPDX-License-Identifier: Apache-2.0
//
// Handshakes, records and changes of keys over networks that do not behave. Whatever happens, what
// is delivered was sent, and once; and when the peers can hear each other, they talk.
//
//   bazel run //rpc/security:secure_simulation_test -- 1 4711   one seed of each weather, 4711
#include <cstdint>
#include <set>
#include <string>

#include "weft/rpc/security/secure_fixture.h"
#include "weft/rpc/security/test_certificates.h"
#include "weft/transports/sim/seeds.h"

namespace weft::rpc {
namespace {

constexpr uint64_t kSeeds = 12;

struct Weather {
  const char* name;
  sim::LinkOptions link;
};

const Weather kWeathers[] = {
    {"loss", {.loss = 0.2}},
    {"doubles", {.duplicate = 0.5}},
    {"disorder", {.jitter_ns = 50'000, .reorder = 0.3}},
    {"damage", {.corrupt = 0.2}},
    {"all", {.jitter_ns = 20'000, .loss = 0.1, .duplicate = 0.2, .reorder = 0.2, .corrupt = 0.05}},
};

class SecureSimulation : public SecureTest {
 public:
  SecureSimulation(uint64_t seed, const Weather& weather, bool certificates)
      : SecureTest(seed, weather.link),
        certificates_(certificates),
        damaged_(weather.link.corrupt > 0) {}
  void TestBody() override {}

  void Run() {
    if (certificates_) {
      ASSERT_TRUE(WriteTestCertificates(files_.directory()).ok());
    }
    config::Security config =
        certificates_ ? X509Config(files_, "server") : PskConfig(files_, "a", TestKey('a'));
    if (certificates_) config.mutable_x509()->set_server_name("localhost");
    config.set_rotate_after_packets(32);
    config.set_handshake_timeout_us(20'000'000);
    const auto server = Open("server", Role::kServer, config);
    const auto client = Open("client", Role::kClient, config);
    const Peer peer = *client->port().Resolve(Address::Sim("server"));
    // Each message that arrives is answered once.
    server->on_message = [&](const TestEnd::Message& message) {
      server->Send(message.peer, "re: " + message.text);
    };
    // Each handshake that damage spoils may cost all its time, so there is room for many.
    for (int i = 0; i < 6000 && client->messages.empty(); ++i) {
      client->Send(peer, absl::StrCat("message first ", i));
      RunFor(100'000'000);
    }
    for (int i = 0; i < 300; ++i) {
      client->Send(peer, absl::StrCat("message ", i));
      RunFor(200'000);
    }
    RunFor(10'000'000);
    CheckOnce(*server, "message ");
    CheckOnce(*client, "re: message ");
    EXPECT_GT(server->messages.size(), 150u);
    EXPECT_GT(server->counts().key_updates_received, 2u);
    EXPECT_GT(client->counts().key_updates_received, 2u);
    // A handshake that was damaged has failed; nothing else has.
    EXPECT_TRUE(damaged_ || client->events.empty());
  }

 private:
  static void CheckOnce(const TestEnd& end, const std::string& beginning) {
    std::set<std::string> seen;
    for (const TestEnd::Message& message : end.messages) {
      EXPECT_EQ(message.text.substr(0, beginning.size()), beginning);
      EXPECT_TRUE(seen.insert(message.text).second) << message.text << " twice";
    }
  }

  const bool certificates_;
  const bool damaged_;
};

TEST(SecureSimulationTest, WhatIsDeliveredWasSentAndOnce) {
  for (const Weather& weather : kWeathers) {
    for (const uint64_t seed : sim::SeedsToRun(kSeeds)) {
      SCOPED_TRACE(absl::StrCat(weather.name, ", seed ", seed));
      SecureSimulation(seed, weather, seed % 4 == 0).Run();
      if (testing::Test::HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace weft::rpc
