// SPDX-License-Identifier: Apache-2.0
#include "weft/core/metric_samples.h"

#include <gtest/gtest.h>

namespace weft {
namespace {

TEST(MetricSamplesTest, AreRenderedByFamily) {
  const std::vector<MetricSample> samples = {
      {{"peer_requests_total", "Requests.", {{"peer", "a"}}}, MetricType::kCounter, 3},
      {{"peer_rtt_seconds", "Round trip.", {{"peer", "a"}}}, MetricType::kGauge, 0.5},
      {{"peer_requests_total", "Requests.", {{"peer", "b"}}}, MetricType::kCounter, 1e15},
  };
  EXPECT_EQ(RenderPrometheus(samples),
            "# HELP peer_requests_total Requests.\n"
            "# TYPE peer_requests_total counter\n"
            "peer_requests_total{peer=\"a\"} 3\n"
            "peer_requests_total{peer=\"b\"} 1e+15\n"
            "# HELP peer_rtt_seconds Round trip.\n"
            "# TYPE peer_rtt_seconds gauge\n"
            "peer_rtt_seconds{peer=\"a\"} 0.5\n");
}

TEST(MetricSamplesTest, WhatPrometheusWouldRefuseIsLeftOut) {
  const std::vector<MetricSample> samples = {
      {{"x", "X.", {{"peer", "a"}}}, MetricType::kGauge, 1},
      {{"x", "X.", {{"peer", "a"}}}, MetricType::kGauge, 2},
      {{"x", "X.", {{"peer", "\xff"}}}, MetricType::kGauge, 3},
      {{"not a name", "X."}, MetricType::kGauge, 4},
  };
  EXPECT_EQ(RenderPrometheus(samples), "# HELP x X.\n# TYPE x gauge\nx{peer=\"a\"} 1\n");
  EXPECT_EQ(RenderPrometheus({}), "");
}

}  // namespace
}  // namespace weft
