// SPDX-License-Identifier: Apache-2.0
//
// The settings of a configuration: each arrives where it belongs, and without one a program gets
// what it would get without the `rpc` section.
#include "weft/rpc/options.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "weft/config/loader.h"
#include "weft/rpc/security/security.h"

namespace weft::rpc {
namespace {

config::Config Parse(const std::string& text) {
  auto config = config::Parse(text, "test", config::Format::kText);
  EXPECT_TRUE(config.ok()) << config.status();
  return *config;
}

void ExpectEqual(const CongestionOptions& a, const CongestionOptions& b) {
  EXPECT_EQ(a.algorithm, b.algorithm);
  EXPECT_EQ(a.window_initial_packets, b.window_initial_packets);
  EXPECT_EQ(a.window_max_packets, b.window_max_packets);
  EXPECT_EQ(a.window_min_packets, b.window_min_packets);
  EXPECT_EQ(a.target_delay_ns, b.target_delay_ns);
  EXPECT_EQ(a.target_range_ns, b.target_range_ns);
  EXPECT_EQ(a.target_range_packets_min, b.target_range_packets_min);
  EXPECT_EQ(a.target_range_packets_max, b.target_range_packets_max);
  EXPECT_EQ(a.increase_packets, b.increase_packets);
  EXPECT_EQ(a.decrease_factor, b.decrease_factor);
  EXPECT_EQ(a.decrease_max, b.decrease_max);
  EXPECT_EQ(a.timeouts_max, b.timeouts_max);
}

void ExpectEqual(const SessionOptions& a, const SessionOptions& b) {
  EXPECT_EQ(a.timeout, b.timeout);
  EXPECT_EQ(a.slots, b.slots);
  EXPECT_EQ(a.credits, b.credits);
  EXPECT_EQ(a.packet_bytes_max, b.packet_bytes_max);
  EXPECT_EQ(a.sessions_max, b.sessions_max);
  EXPECT_EQ(a.message_bytes_max, b.message_bytes_max);
  EXPECT_EQ(a.rto_min, b.rto_min);
  EXPECT_EQ(a.rto_max, b.rto_max);
  EXPECT_EQ(a.rto_initial, b.rto_initial);
  ExpectEqual(a.congestion, b.congestion);
}

TEST(OptionsTest, AClientsDefaultsAreTheSchemas) {
  const ClientOptions code;
  const ClientOptions schema = *ClientOptions::From(config::Config());
  EXPECT_EQ(schema.policy, code.policy);
  EXPECT_EQ(schema.timeout, code.timeout);
  EXPECT_EQ(schema.outstanding_max, code.outstanding_max);
  EXPECT_EQ(schema.message_packets_max, code.message_packets_max);
  EXPECT_EQ(schema.request_id_seed, code.request_id_seed);
  EXPECT_EQ(schema.wire, code.wire);
  EXPECT_EQ(schema.negotiation_timeout, code.negotiation_timeout);
  ExpectEqual(schema.session, code.session);
  EXPECT_TRUE(code.session.Validate().ok());
}

TEST(OptionsTest, AServersDefaultsAreTheSchemas) {
  const ServerOptions code;
  const auto schema = ServerOptions::From(config::Config());
  ASSERT_TRUE(schema.ok());
  EXPECT_EQ(schema->message_packets_max, code.message_packets_max);
  EXPECT_EQ(schema->messages_max, code.messages_max);
  EXPECT_EQ(schema->messages_per_peer_max, code.messages_per_peer_max);
  EXPECT_EQ(schema->reassembly_timeout, code.reassembly_timeout);
  EXPECT_EQ(schema->router.control, code.router.control);
  EXPECT_EQ(schema->router.join, code.router.join);
  EXPECT_EQ(schema->router.address, code.router.address);
  EXPECT_EQ(schema->router.slots, code.router.slots);
  EXPECT_EQ(schema->router.weight, code.router.weight);
  EXPECT_EQ(schema->router.keepalive, code.router.keepalive);
  EXPECT_EQ(schema->router.forwards_from, code.router.forwards_from);
  EXPECT_EQ(schema->router.security, code.router.security);
  ExpectEqual(schema->session, code.session);
  EXPECT_EQ(schema->reply_cache_time, code.reply_cache_time);
  EXPECT_EQ(schema->reply_cache_bytes_max, code.reply_cache_bytes_max);
  EXPECT_EQ(schema->executing_max, code.executing_max);
  EXPECT_EQ(schema->key_seed, code.key_seed);
}

TEST(OptionsTest, EachSettingArrives) {
  const config::Config config = Parse(R"(rpc {
    policy: FIXED_ROUTE timeout_us: 11 outstanding_max: 12 message_packets_max: 13
    wire: EXTENDED message_bytes_max: 14
    session { timeout_us: 1015 negotiation_timeout_us: 1016 slots: 17 credits: 18
              packet_bytes_max: 190 sessions_max: 20 }
    retransmission { rto_min_us: 21 rto_max_us: 23 rto_initial_us: 22 }
    reply_cache { time_us: 1024 bytes_max: 65561 }
    overload { executing_max: 26 }
    reassembly { messages_max: 27 messages_per_peer_max: 28 timeout_us: 29 }
    congestion {
      algorithm: NEW_RENO window_initial_packets: 30 window_max_packets: 31
      swift { window_min_packets: 0.32 target_delay_us: 33 target_range_us: 34
              target_range_packets_min: 35 target_range_packets_max: 36 increase_packets: 37
              decrease_factor: 0.38 decrease_max: 0.39 timeouts_max: 40 }
    }
  })");
  const SessionOptions session = {
      .timeout = absl::Microseconds(1015),
      .slots = 17,
      .credits = 18,
      .packet_bytes_max = 190,
      .sessions_max = 20,
      .message_bytes_max = 14,
      .rto_min = absl::Microseconds(21),
      .rto_max = absl::Microseconds(23),
      .rto_initial = absl::Microseconds(22),
      .congestion = {.algorithm = "new_reno",
                     .window_initial_packets = 30,
                     .window_max_packets = 31,
                     .window_min_packets = 0.32,
                     .target_delay_ns = 33'000,
                     .target_range_ns = 34'000,
                     .target_range_packets_min = 35,
                     .target_range_packets_max = 36,
                     .increase_packets = 37,
                     .decrease_factor = 0.38,
                     .decrease_max = 0.39,
                     .timeouts_max = 40},
  };

  const ClientOptions client = *ClientOptions::From(config);
  EXPECT_EQ(client.policy, Policy::kFixedRoute);
  EXPECT_EQ(client.timeout, absl::Microseconds(11));
  EXPECT_EQ(client.outstanding_max, 12u);
  EXPECT_EQ(client.message_packets_max, 13u);
  EXPECT_EQ(client.wire, Wire::kExtended);
  EXPECT_EQ(client.negotiation_timeout, absl::Microseconds(1016));
  ExpectEqual(client.session, session);
  EXPECT_TRUE(client.session.Validate().ok()) << client.session.Validate();

  const auto server = ServerOptions::From(config);
  ASSERT_TRUE(server.ok());
  EXPECT_EQ(server->message_packets_max, 13u);
  EXPECT_EQ(server->messages_max, 27u);
  EXPECT_EQ(server->messages_per_peer_max, 28u);
  EXPECT_EQ(server->reassembly_timeout, absl::Microseconds(29));
  EXPECT_EQ(server->reply_cache_time, absl::Microseconds(1024));
  EXPECT_EQ(server->reply_cache_bytes_max, 65561u);
  EXPECT_EQ(server->executing_max, 26u);
  ExpectEqual(server->session, session);
}

TEST(OptionsTest, SecurityIsThatOfTheConfiguration) {
  EXPECT_EQ(ClientOptions::From(Parse("")).value().security, nullptr);
  EXPECT_EQ(ServerOptions::From(Parse("")).value().security, nullptr);
  const config::Config plain = Parse("security { plaintext { } }");
  EXPECT_EQ(ClientOptions::From(plain).value().security->mode(), Security::Mode::kPlaintext);
  EXPECT_EQ(ServerOptions::From(plain).value().security->mode(), Security::Mode::kPlaintext);
  EXPECT_EQ(Plaintext()->mode(), Security::Mode::kPlaintext);
  config::Config bad;
  bad.mutable_security();
  EXPECT_TRUE(absl::IsInvalidArgument(ClientOptions::From(bad).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ServerOptions::From(bad).status()));
}

TEST(OptionsTest, EachSettingOfRoutersArrives) {
  const auto options = ServerOptions::From(Parse(R"(rpc { router {
    control: "10.0.0.1:9000" control: "[fd00::1]:9001" join: true address: "10.0.0.2:8000"
    slots: 3 weight: 4 keepalive_us: 5000 forwards_from: "10.0.0.3" forwards_from: "fd00::3"
    forwards_from: "10.0.0.4:7" security { plaintext { } }
  } })"));
  ASSERT_TRUE(options.ok()) << options.status();
  const RouterOptions& router = options->router;
  EXPECT_EQ(router.control, (std::vector<Address>{*Address::Parse("10.0.0.1:9000"),
                                                  *Address::Parse("[fd00::1]:9001")}));
  EXPECT_TRUE(router.join);
  EXPECT_EQ(router.address.ToString(), "10.0.0.2:8000");
  EXPECT_EQ(router.slots, 3);
  EXPECT_EQ(router.weight, 4);
  EXPECT_EQ(router.keepalive, absl::Milliseconds(5));
  EXPECT_EQ(router.forwards_from,
            (std::vector<Address>{*Address::Parse("10.0.0.3:0"), *Address::Parse("[fd00::3]:0"),
                                  *Address::Parse("10.0.0.4:7")}));
  ASSERT_NE(router.security, nullptr);
  EXPECT_EQ(router.security->mode(), Security::Mode::kPlaintext);
}

TEST(OptionsTest, WhatIsWrongWithRoutersIsSaidByField) {
  const struct {
    const char* text;
    const char* field;
    const char* advice;
  } kCases[] = {
      {"control: 'there'", "rpc.router.control: ", "there"},
      {"control: '10.0.0.1:0'", "rpc.router.control: ", "\"10.0.0.1:9000\""},
      {"control: '0.0.0.0:9000'", "rpc.router.control: ", "own address"},
      {"join: true", "rpc.router.join: ", "`control` needs the address"},
      {"control: 'shm:r' address: '[::]:7'", "rpc.router.address: ", "any address"},
      {"control: 'shm:r' forwards_from: '10.0.0'", "rpc.router.forwards_from: ", "10.0.0"},
  };
  for (const auto& c : kCases) {
    config::Config config;
    config::Routers& routers = *config.mutable_rpc()->mutable_router();
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(c.text, &routers)) << c.text;
    const absl::Status status = ServerOptions::From(config).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << c.text;
    EXPECT_THAT(std::string(status.message()), testing::StartsWith(c.field)) << c.text;
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr(c.advice)) << c.text;
  }
}

TEST(OptionsTest, TheSchemaHasEachAlgorithm) {
  std::vector<std::string> in_schema;
  const auto* algorithms = config::Congestion::Algorithm_descriptor();
  for (int i = 0; i < algorithms->value_count(); ++i) {
    in_schema.push_back(absl::AsciiStrToLower(algorithms->value(i)->name()));
  }
  std::vector<std::string> in_code;
  for (const CongestionAlgorithm& algorithm : CongestionAlgorithms()) {
    in_code.emplace_back(algorithm.name);
  }
  EXPECT_EQ(in_schema, in_code);
}

// What the loader lets through must not be refused later, without a line to look at.
TEST(OptionsTest, TheLoadersLimitsAreWithinThoseOfTheCode) {
  for (const char* text : {
           "rpc { session { timeout_us: 1000 slots: 1 credits: 1 packet_bytes_max: 176 "
           "sessions_max: 1 } message_bytes_max: 1 "
           "retransmission { rto_min_us: 10 rto_max_us: 10 rto_initial_us: 10 } "
           "congestion { window_initial_packets: 1 window_max_packets: 1 "
           "swift { target_delay_us: 1 target_range_us: 0 target_range_packets_min: 0.001 "
           "target_range_packets_max: 0.002 window_min_packets: 0.001 increase_packets: 0.001 "
           "decrease_factor: 0.01 decrease_max: 0.01 timeouts_max: 1 } } }",
           "rpc { session { timeout_us: 3600000000 slots: 4096 credits: 4096 "
           "packet_bytes_max: 65507 sessions_max: 4194304 } message_bytes_max: 1073741824 "
           "retransmission { rto_min_us: 60000000 rto_max_us: 60000000 rto_initial_us: 60000000 } "
           "congestion { algorithm: NONE window_initial_packets: 65536 window_max_packets: 65536 "
           "swift { target_delay_us: 10000000 target_range_us: 10000000 "
           "target_range_packets_min: 65535 target_range_packets_max: 65536 window_min_packets: 1 "
           "increase_packets: 1000 decrease_factor: 1 decrease_max: 0.99 timeouts_max: 1000 } } }",
       }) {
    const absl::Status status = SessionOptions::From(Parse(text).rpc()).Validate();
    EXPECT_TRUE(status.ok()) << status;
  }
}

}  // namespace
}  // namespace weft::rpc
