// SPDX-License-Identifier: Apache-2.0
//
// What two TCPs may agree on or not, and networks that treat them badly: a row each, the kernel's
// TCP once as the client and once as the server. Skipped where the kernel does not let us make the
// network.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "weft/tcp/kernel_fixture.h"

namespace weft::tcp {
namespace {

// What must have been agreed on.
enum class Has { kNo, kYes, kEither };

struct Case {
  const char* name;
  std::vector<const char*> kernel = {};  // its settings: "tcp_sack=0"
  const char* tcp = "";                  // weft's, as in a configuration
  const char* fault = "";                // of what weft sends
  const char* their_fault = "";          // of what the kernel sends
  Device device = Device::kTap;
  bool v4 = true;
  size_t bytes = 300'000;
  Has timestamps = Has::kYes, sack = Has::kYes, window_scaling = Has::kYes, ecn = Has::kNo;
  const char* kernel_counter = "";  // of TcpExt in /proc/net/netstat, which must not be 0
  const Counter TcpStats::*counter = nullptr;  // must not be 0
};

void PrintTo(const Case& row, std::ostream* out) { *out << row.name; }

const Case kCases[] = {
    {.name = "defaults_afxdp", .device = Device::kAfxdp},
    {.name = "defaults_afxdp_ipv6", .device = Device::kAfxdp, .v4 = false},

    // Options that one side does not have.
    {.name = "kernel_without_timestamps",
     .kernel = {"tcp_timestamps=0"},
     .fault = "loss: 0.03",
     .timestamps = Has::kNo},
    {.name = "weft_without_timestamps",
     .tcp = "timestamps: false",
     .fault = "loss: 0.03",
     .v4 = false,
     .timestamps = Has::kNo},
    {.name = "kernel_without_sack",
     .kernel = {"tcp_sack=0"},
     .fault = "loss: 0.03",
     .their_fault = "loss: 0.03",
     .v4 = false,
     .sack = Has::kNo},
    {.name = "weft_without_sack",
     .tcp = "sack: false",
     .fault = "loss: 0.03",
     .their_fault = "loss: 0.03",
     .sack = Has::kNo},
    {.name = "kernel_without_window_scaling",
     .kernel = {"tcp_window_scaling=0"},
     .window_scaling = Has::kNo},
    {.name = "weft_without_window_scaling",
     .tcp = "window_scaling: false",
     .v4 = false,
     .window_scaling = Has::kNo},
    {.name = "kernel_without_any",
     .kernel = {"tcp_timestamps=0", "tcp_sack=0", "tcp_window_scaling=0"},
     .fault = "loss: 0.03 reorder: 0.03",
     .timestamps = Has::kNo,
     .sack = Has::kNo,
     .window_scaling = Has::kNo},

    // Explicit congestion notification.
    {.name = "ecn_at_both",
     .kernel = {"tcp_ecn=1"},
     .tcp = "ecn: ON",
     .fault = "loss: 0.03",
     .their_fault = "loss: 0.03",
     .ecn = Has::kYes},
    {.name = "ecn_weft_off", .kernel = {"tcp_ecn=1"}, .tcp = "ecn: OFF"},
    {.name = "ecn_kernel_off", .kernel = {"tcp_ecn=0"}, .tcp = "ecn: ON", .v4 = false},
    // Each accepts what the other asks for.
    {.name = "ecn_weft_passive", .kernel = {"tcp_ecn=1"}, .ecn = Has::kEither},
    {.name = "ecn_kernel_passive", .kernel = {"tcp_ecn=2"}, .tcp = "ecn: ON", .ecn = Has::kEither},
    {.name = "dctcp",
     .kernel = {"tcp_ecn=1"},
     .tcp = "ecn: ON congestion_control: 'dctcp'",
     .fault = "loss: 0.01",
     .v4 = false,
     .ecn = Has::kYes},

    // Cookies keep what is agreed on in the timestamp.
    {.name = "kernel_cookies", .kernel = {"tcp_syncookies=2"}, .kernel_counter = "SyncookiesRecv"},
    {.name = "kernel_cookies_ipv6",
     .kernel = {"tcp_syncookies=2"},
     .v4 = false,
     .kernel_counter = "SyncookiesRecv"},
    {.name = "weft_cookies",
     .tcp = "syn_cookies: ALWAYS",
     .counter = &TcpStats::syn_cookies_accepted},
    {.name = "weft_cookies_ipv6",
     .tcp = "syn_cookies: ALWAYS",
     .fault = "loss: 0.03",
     .v4 = false,
     .counter = &TcpStats::syn_cookies_accepted},
    {.name = "cookies_of_both_without_timestamps",
     .kernel = {"tcp_syncookies=2", "tcp_timestamps=0"},
     .tcp = "syn_cookies: ALWAYS",
     .timestamps = Has::kNo,
     .sack = Has::kEither,
     .window_scaling = Has::kEither,
     .kernel_counter = "SyncookiesRecv",
     .counter = &TcpStats::syn_cookies_accepted},
    {.name = "cookies_of_both_with_ecn",
     .kernel = {"tcp_syncookies=2", "tcp_ecn=1"},
     .tcp = "syn_cookies: ALWAYS ecn: ON",
     .ecn = Has::kEither,
     .kernel_counter = "SyncookiesRecv",
     .counter = &TcpStats::syn_cookies_accepted},

    // Sizes.
    {.name = "small_segments_of_weft", .tcp = "mss_max: 300", .bytes = 100'000},
    {.name = "small_buffers_of_weft",
     .tcp = "receive_buffer_bytes: 4096 receive_buffer_bytes_max: 4096 "
            "send_buffer_bytes_max: 4096",
     .v4 = false,
     .bytes = 100'000,
     .window_scaling = Has::kEither},
    {.name = "small_buffers_of_kernel",
     .kernel = {"tcp_rmem=4096 4096 4096", "tcp_wmem=4096 4096 4096"},
     .bytes = 100'000,
     .window_scaling = Has::kEither},

    // Other ways to acknowledge and to send.
    {.name = "acknowledges_at_once", .tcp = "delayed_ack_us: 0 nagle: false", .v4 = false},
    {.name = "new_reno_against_bbr",
     .kernel = {"tcp_congestion_control=bbr"},
     .tcp = "congestion_control: 'new_reno'",
     .fault = "loss: 0.02",
     .their_fault = "loss: 0.02"},
    {.name = "without_rack",
     .tcp = "rack: false",
     .fault = "loss: 0.03",
     .their_fault = "reorder: 0.1",
     .counter = &TcpStats::recoveries},

    // Networks, each fault in both directions.
    {.name = "loss",
     .fault = "loss: 0.05",
     .their_fault = "loss: 0.05",
     .bytes = 1'000'000,
     .counter = &TcpStats::recoveries},
    {.name = "duplication",
     .fault = "duplicate: 0.3",
     .their_fault = "duplicate: 0.3",
     .v4 = false,
     .bytes = 1'000'000,
     .counter = &TcpStats::duplicate_data},
    {.name = "reordering",
     .fault = "reorder: 0.2",
     .their_fault = "reorder: 0.2",
     .bytes = 1'000'000,
     .counter = &TcpStats::out_of_order},
    {.name = "corruption",
     .fault = "corrupt: 0.05",
     .their_fault = "corrupt: 0.05",
     .v4 = false,
     .bytes = 1'000'000,
     .counter = &TcpStats::retransmissions},
    {.name = "jitter",
     .fault = "delay_us: 500 delay_jitter_us: 1000",
     .their_fault = "delay_us: 500 delay_jitter_us: 1000",
     .bytes = 1'000'000,
     .counter = &TcpStats::out_of_order},
    {.name = "everything",
     .fault = "loss: 0.02 duplicate: 0.05 reorder: 0.05 corrupt: 0.02 delay_us: 300",
     .their_fault = "loss: 0.02 duplicate: 0.05 reorder: 0.05 corrupt: 0.02 delay_us: 300",
     .v4 = false,
     .bytes = 1'000'000,
     .counter = &TcpStats::out_of_order},
};

template <typename Message>
Message Parse(const char* text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

class KernelOptionsTest : public KernelFixture, public testing::WithParamInterface<Case> {
 protected:
  // Of TcpExt; -1: the kernel has no such counter.
  int64_t KernelCounter(absl::string_view name) {
    const std::vector<std::string> lines =
        absl::StrSplit(network_.there().Run("cat /proc/net/netstat").output, '\n');
    for (size_t i = 0; i + 1 < lines.size(); i += 2) {
      const std::vector<std::string> names = absl::StrSplit(lines[i], ' ');
      const std::vector<std::string> values = absl::StrSplit(lines[i + 1], ' ');
      for (size_t k = 0; k < std::min(names.size(), values.size()); ++k) {
        int64_t value;
        if (names[k] == name && absl::SimpleAtoi(values[k], &value)) return value;
      }
    }
    return -1;
  }

  void OnOpen(StreamId stream) override {
    const auto info = port_->Info(stream);
    ASSERT_TRUE(info.ok()) << info.status();
    const auto expect = [](Has expected, bool has, const char* what) {
      if (expected != Has::kEither) {
        EXPECT_EQ(has, expected == Has::kYes) << what;
      }
    };
    expect(GetParam().timestamps, info->timestamps, "timestamps");
    expect(GetParam().sack, info->sack, "SACK");
    expect(GetParam().window_scaling, info->window_scaling, "window scaling");
    expect(GetParam().ecn, info->ecn, "ECN");
  }
};

INSTANTIATE_TEST_SUITE_P(Cases, KernelOptionsTest, testing::ValuesIn(kCases),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(KernelOptionsTest, BytesArriveBothWays) {
  const Case& row = GetParam();
  Open({.device = row.device,
        .v4 = row.v4,
        .fault = Parse<config::Fault>(row.fault),
        .tcp = Parse<config::Tcp>(row.tcp),
        .their_fault = Parse<config::Fault>(row.their_fault)});
  if (IsSkipped()) return;
  for (const char* setting : row.kernel) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(setting, '=');
    const auto result = network_.Set(parts.first, parts.second);
    if (!result.ok()) GTEST_SKIP() << "this kernel has no " << setting << ": " << result.output;
  }
  ExpectEchoToKernel(row.bytes);
  ExpectEchoToWeft(row.bytes);
  if (*row.kernel_counter != '\0') {
    EXPECT_NE(KernelCounter(row.kernel_counter), 0) << row.kernel_counter;
  }
  if (row.counter != nullptr) {
    EXPECT_GT((stats().*row.counter).value(), 0u);
  }
  EXPECT_EQ(stats().malformed.value(), 0u);
  EXPECT_EQ(stats().bad_sacks.value(), 0u);
  EXPECT_TRUE(Until([](const StreamEvent&) {}, [&] { return stats().connections.value() == 0; }));
}

}  // namespace
}  // namespace weft::tcp
