// SPDX-License-Identifier: Apache-2.0

#include "weft/core/metrics.h"

#include <atomic>
#include <cmath>
#include <limits>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"

namespace weft {
namespace {

std::vector<std::string> Lines(const MetricRegistry& registry) {
  return absl::StrSplit(registry.RenderPrometheus(), '\n', absl::SkipEmpty());
}

// The value of the sample whose name and labels are `sample`; "" if it is not there.
std::string ValueOf(const MetricRegistry& registry, const std::string& sample) {
  for (const std::string& line : Lines(registry)) {
    if (absl::StartsWith(line, sample + " ")) return line.substr(sample.size() + 1);
  }
  return "";
}

TEST(MetricRegistryTest, RendersFamiliesSortedWithOneHeadEach) {
  Counter a, b;
  Gauge depth;
  a.Add(3);
  b.Add();
  depth.Set(-5);
  MetricRegistry registry;
  auto h1 = registry.Register({"x_total", "Things.", {{"worker", "1"}, {"port", "eth0"}}}, &b);
  auto h2 = registry.Register({"queue_depth", "Waiting."}, &depth);
  auto h3 = registry.Register({"x_total", "Things.", {{"port", "eth0"}, {"worker", "0"}}}, &a);
  ASSERT_TRUE(h1.ok() && h2.ok() && h3.ok());
  EXPECT_EQ(registry.RenderPrometheus(),
            "# HELP queue_depth Waiting.\n"
            "# TYPE queue_depth gauge\n"
            "queue_depth -5\n"
            "# HELP x_total Things.\n"
            "# TYPE x_total counter\n"
            "x_total{port=\"eth0\",worker=\"0\"} 3\n"
            "x_total{port=\"eth0\",worker=\"1\"} 1\n");
}

TEST(MetricRegistryTest, ACounterMayBeLeftOutWhileItIsZero) {
  Counter rare;
  MetricRegistry registry;
  auto handle = registry.Register({"x_total", "Things.", {{"code", "7"}}, true}, &rare);
  ASSERT_TRUE(handle.ok());
  EXPECT_EQ(ValueOf(registry, "x_total{code=\"7\"}"), "");
  rare.Add();
  EXPECT_EQ(ValueOf(registry, "x_total{code=\"7\"}"), "1");
}

TEST(MetricRegistryTest, EscapesHelpAndLabelValues) {
  Gauge gauge;
  MetricRegistry registry;
  auto handle =
      registry.Register({"g", "a\\b\n\"c\"", {{"path", "C:\\x\n\"y\" \xc3\xa9"}}}, &gauge);
  ASSERT_TRUE(handle.ok()) << handle.status();
  EXPECT_EQ(registry.RenderPrometheus(),
            "# HELP g a\\\\b\\n\"c\"\n"
            "# TYPE g gauge\n"
            "g{path=\"C:\\\\x\\n\\\"y\\\" \xc3\xa9\"} 0\n");
}

TEST(MetricRegistryTest, RefusesWhatPrometheusWouldRefuse) {
  Counter counter;
  MetricRegistry registry;
  const std::string long_text(1025, 'a');
  const std::vector<MetricInfo> bad = {
      {"", "", {}},
      {"0abc", "", {}},
      {"a-b", "", {}},
      {"caf\xc3\xa9", "", {}},
      {long_text, "", {}},
      {"ok", long_text, {}},
      {"ok", "\xff", {}},
      {"ok", "", {{"", "v"}}},
      {"ok", "", {{"a:b", "v"}}},
      {"ok", "", {{"__reserved", "v"}}},
      {"ok", "", {{"l", long_text}}},
      {"ok", "", {{"l", "cut \xe2\x82"}}},
      {"ok", "", {{"l", "overlong \xc0\xaf"}}},
      {"ok", "", {{"l", "overlong \xe0\x80\xaf"}}},
      {"ok", "", {{"l", "surrogate \xed\xa0\x80"}}},
      {"ok", "", {{"l", "beyond \xf4\x90\x80\x80"}}},
      {"ok", "", {{"twice", "1"}, {"twice", "2"}}},
      {"ok", "", std::vector<std::pair<std::string, std::string>>(17, {"l", "v"})},
  };
  for (const MetricInfo& info : bad) {
    EXPECT_EQ(registry.Register(info, &counter).status().code(), absl::StatusCode::kInvalidArgument)
        << info.name << " " << info.help;
  }
  Histogram histogram;
  EXPECT_EQ(registry.Register({"h", "", {{"le", "1"}}}, &histogram, HistogramUnit::kPlain)
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(registry.RenderPrometheus(), "");
}

TEST(MetricRegistryTest, AFamilyHasOneTypeOneHelpAndDistinctLabels) {
  Counter counter;
  Gauge gauge;
  Histogram histogram;
  MetricRegistry registry;
  auto first = registry.Register({"a", "help"}, &counter);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(registry.Register({"a", "help"}, &counter).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(registry.Register({"a", "help", {{"x", "1"}}}, &gauge).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(registry.Register({"a", "other", {{"x", "1"}}}, &counter).status().code(),
            absl::StatusCode::kFailedPrecondition);

  auto latency = registry.Register({"h", ""}, &histogram, HistogramUnit::kPlain);
  auto count = registry.Register({"g_count", ""}, &counter);
  ASSERT_TRUE(latency.ok() && count.ok());
  EXPECT_EQ(registry.Register({"h_sum", ""}, &counter).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(registry.Register({"g", ""}, &histogram, HistogramUnit::kPlain).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(MetricRegistryTest, HandlesUnregister) {
  Counter counter;
  MetricRegistry registry;
  {
    auto handle = registry.Register({"a", "help"}, &counter);
    ASSERT_TRUE(handle.ok());
    MetricHandle moved = *std::move(handle);
    MetricHandle again(std::move(moved));
    EXPECT_EQ(ValueOf(registry, "a"), "0");
  }
  EXPECT_EQ(registry.RenderPrometheus(), "");
  auto handle = registry.Register({"a", "another help and type are fine now"}, &counter);
  EXPECT_TRUE(handle.ok());
}

TEST(MetricRegistryTest, IsBounded) {
  Counter counter;
  MetricRegistry registry(/*max_metrics=*/2);
  auto a = registry.Register({"a", ""}, &counter);
  auto b = registry.Register({"b", ""}, &counter);
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ(registry.Register({"c", ""}, &counter).status().code(),
            absl::StatusCode::kResourceExhausted);
  a->Reset();
  EXPECT_TRUE(registry.Register({"c", ""}, &counter).ok());
}

TEST(MetricRegistryTest, CallbacksAreReadWhenRendered) {
  double value = 0.1;
  MetricRegistry registry;
  auto handle = registry.RegisterCallback({"v", ""}, MetricType::kGauge, [&] { return value; });
  ASSERT_TRUE(handle.ok());
  const double infinity = std::numeric_limits<double>::infinity();
  const std::vector<std::pair<double, std::string>> cases = {
      {0.1, "0.1"},       {42, "42"},          {1e300, "1e+300"},
      {infinity, "+Inf"}, {-infinity, "-Inf"}, {std::nan(""), "NaN"}};
  for (const auto& [number, text] : cases) {
    value = number;
    EXPECT_EQ(ValueOf(registry, "v"), text);
  }
  EXPECT_EQ(registry.RegisterCallback({"h", ""}, MetricType::kHistogram, [] { return 0.0; })
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(MetricRegistryTest, LatenciesAreCumulativeBucketsInSeconds) {
  Histogram histogram;
  for (int64_t ns : {100, 255, 256, 1000, 1'000'000'000}) histogram.Record(ns);
  histogram.Record(int64_t{100} * 1'000'000'000);
  MetricRegistry registry;
  auto handle = registry.Register({"rpc_seconds", "Latency.", {{"worker", "0"}}}, &histogram,
                                  HistogramUnit::kNanoseconds);
  ASSERT_TRUE(handle.ok());
  EXPECT_EQ(Lines(registry)[1], "# TYPE rpc_seconds histogram");
  EXPECT_EQ(ValueOf(registry, R"(rpc_seconds_bucket{worker="0",le="2.55e-07"})"), "2");
  EXPECT_EQ(ValueOf(registry, R"(rpc_seconds_bucket{worker="0",le="3.83e-07"})"), "3");
  EXPECT_EQ(ValueOf(registry, R"(rpc_seconds_bucket{worker="0",le="1.023e-06"})"), "4");
  EXPECT_EQ(ValueOf(registry, R"(rpc_seconds_bucket{worker="0",le="17.179869183"})"), "5");
  EXPECT_EQ(ValueOf(registry, R"(rpc_seconds_bucket{worker="0",le="+Inf"})"), "6");
  EXPECT_EQ(ValueOf(registry, R"(rpc_seconds_count{worker="0"})"), "6");
  EXPECT_EQ(ValueOf(registry, R"(rpc_seconds_sum{worker="0"})"), "101.000001611");
}

TEST(MetricRegistryTest, PlainHistogramsKeepTheirUnit) {
  Histogram histogram;
  for (int64_t burst : {0, 1, 2, 32}) histogram.Record(burst);
  MetricRegistry registry;
  auto handle = registry.Register({"burst", "Packets."}, &histogram, HistogramUnit::kPlain);
  ASSERT_TRUE(handle.ok());
  EXPECT_EQ(ValueOf(registry, R"(burst_bucket{le="1"})"), "2");
  EXPECT_EQ(ValueOf(registry, R"(burst_bucket{le="31"})"), "3");
  EXPECT_EQ(ValueOf(registry, R"(burst_bucket{le="67108863"})"), "4");
  EXPECT_EQ(ValueOf(registry, "burst_sum"), "35");
}

// Under --config=tsan: workers count while others render, register and unregister.
TEST(MetricRegistryTest, RendersWhileWorkersCountAndCome) {
  MetricRegistry registry;
  std::atomic<bool> stop{false};
  std::vector<std::thread> workers;
  for (int w = 0; w < 3; ++w) {
    workers.emplace_back([&registry, &stop, w] {
      while (!stop.load(std::memory_order_relaxed)) {
        Counter counter;
        Histogram histogram;
        const std::string label = absl::StrCat(w);
        auto h1 = registry.Register({"c", "", {{"worker", label}}}, &counter);
        auto h2 =
            registry.Register({"h", "", {{"worker", label}}}, &histogram, HistogramUnit::kPlain);
        ASSERT_TRUE(h1.ok() && h2.ok());
        for (int i = 0; i < 1000; ++i) {
          counter.Add();
          histogram.Record(i);
        }
      }
    });
  }
  for (int i = 0; i < 100; ++i) registry.RenderPrometheus();
  stop = true;
  for (std::thread& worker : workers) worker.join();
  EXPECT_EQ(registry.RenderPrometheus(), "");
}

}  // namespace
}  // namespace weft
