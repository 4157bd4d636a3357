// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/tcp_stats.h"

#include "gtest/gtest.h"

namespace weft::tcp {
namespace {

TEST(TcpStatsTest, AreShownAsMetricsAndAsJson) {
  TcpStats stats;
  stats.segments_sent += 3;
  stats.connections.Set(2);
  MetricRegistry registry;
  MetricGroup group(registry, "weft_tcp_", {{"worker", "0"}});
  stats.AddTo(group);
  ASSERT_TRUE(group.status().ok()) << group.status();
  const std::string text = registry.RenderPrometheus();
  EXPECT_NE(text.find("weft_tcp_segments_sent_total{worker=\"0\"} 3"), std::string::npos) << text;
  EXPECT_NE(text.find("weft_tcp_connections{worker=\"0\"} 2"), std::string::npos) << text;
  EXPECT_EQ(text.find("weft_tcp_pruned_total{"), std::string::npos);
  JsonWriter json(JsonWriter::Layout::kLine);
  json.BeginObject();
  stats.WriteTo(json);
  json.EndObject();
  EXPECT_NE(json.text().find("\"segments_sent\":3"), std::string::npos);
}

}  // namespace
}  // namespace weft::tcp
