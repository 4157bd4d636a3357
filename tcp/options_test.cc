// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/options.h"

#include "gtest/gtest.h"
#include "weft/config/config.h"

namespace weft::tcp {
namespace {

TEST(OptionsTest, DefaultsAreTheSchemas) {
  const auto read = Options::From(config::Tcp());
  ASSERT_TRUE(read.ok()) << read.status();
  const Options own;
  EXPECT_EQ(read->mss_max, own.mss_max);
  EXPECT_EQ(read->congestion_control, own.congestion_control);
  EXPECT_EQ(read->initial_window_packets, own.initial_window_packets);
  EXPECT_EQ(read->ecn, own.ecn);
  EXPECT_EQ(read->sack, own.sack);
  EXPECT_EQ(read->rack, own.rack);
  EXPECT_EQ(read->timestamps, own.timestamps);
  EXPECT_EQ(read->window_scaling, own.window_scaling);
  EXPECT_EQ(read->send_buffer_bytes_max, own.send_buffer_bytes_max);
  EXPECT_EQ(read->receive_buffer_bytes, own.receive_buffer_bytes);
  EXPECT_EQ(read->receive_buffer_bytes_max, own.receive_buffer_bytes_max);
  EXPECT_EQ(read->out_of_order_ranges_max, own.out_of_order_ranges_max);
  EXPECT_EQ(read->buffers_percent_max, own.buffers_percent_max);
  EXPECT_EQ(read->delayed_ack_ns, own.delayed_ack_ns);
  EXPECT_EQ(read->rto_min_ns, own.rto_min_ns);
  EXPECT_EQ(read->rto_initial_ns, own.rto_initial_ns);
  EXPECT_EQ(read->rto_max_ns, own.rto_max_ns);
  EXPECT_EQ(read->syn_retries, own.syn_retries);
  EXPECT_EQ(read->syn_ack_retries, own.syn_ack_retries);
  EXPECT_EQ(read->user_timeout_ms, own.user_timeout_ms);
  EXPECT_EQ(read->keepalive.all, own.keepalive.all);
  EXPECT_EQ(read->keepalive.idle_s, own.keepalive.idle_s);
  EXPECT_EQ(read->keepalive.interval_s, own.keepalive.interval_s);
  EXPECT_EQ(read->keepalive.probes, own.keepalive.probes);
  EXPECT_EQ(read->time_wait_ns, own.time_wait_ns);
  EXPECT_EQ(read->time_wait_max, own.time_wait_max);
  EXPECT_EQ(read->syn_backlog, own.syn_backlog);
  EXPECT_EQ(read->syn_cookies, own.syn_cookies);
  EXPECT_EQ(read->connections_max, own.connections_max);
  EXPECT_EQ(read->nagle, own.nagle);
  EXPECT_EQ(read->challenge_acks_per_s, own.challenge_acks_per_s);
  EXPECT_EQ(read->resets_per_s, own.resets_per_s);
}

TEST(OptionsTest, UnitsAreConverted) {
  config::Tcp config;
  config.set_rto_min_us(5000);
  config.set_delayed_ack_us(0);
  config.set_time_wait_ms(1500);
  config.set_ecn(config::Tcp::ON);
  config.set_syn_cookies(config::Tcp::ALWAYS);
  config.mutable_keepalive()->set_probes(3);
  const auto read = Options::From(config);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->rto_min_ns, 5'000'000);
  EXPECT_EQ(read->delayed_ack_ns, 0);
  EXPECT_EQ(read->time_wait_ns, 1'500'000'000);
  EXPECT_EQ(read->ecn, EcnMode::kOn);
  EXPECT_EQ(read->syn_cookies, SynCookieMode::kAlways);
  EXPECT_EQ(read->keepalive.probes, 3);
}

TEST(OptionsTest, WrongOnesAreNamed) {
  config::Tcp mss;
  mss.set_mss_max(20);
  EXPECT_EQ(Options::From(mss).status().message(),
            "tcp.mss_max: 20 is too small; give 0 or at least 88");
  config::Tcp rto;
  rto.set_rto_min_us(2'000'000);
  rto.set_rto_max_us(1'000'000);
  EXPECT_EQ(Options::From(rto).status().message(),
            "tcp.rto_min_us: 2000000 is more than rto_max_us, 1000000; give at most that");
  config::Tcp buffer;
  buffer.set_receive_buffer_bytes_max(4096);
  EXPECT_EQ(Options::From(buffer).status().message(),
            "tcp.receive_buffer_bytes: 131072 is more than receive_buffer_bytes_max, 4096; give at "
            "most that");
}

}  // namespace
}  // namespace weft::tcp
