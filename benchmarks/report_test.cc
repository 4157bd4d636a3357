// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/report.h"

#include "gtest/gtest.h"

namespace weft::benchmarks {
namespace {

TEST(MedianTest, OddEvenAndNone) {
  EXPECT_EQ(Median({3, 1, 2}), 2);
  EXPECT_EQ(Median({4, 1, 2, 3}), 2.5);
  EXPECT_EQ(Median({}), 0);
}

Report Example() {
  Report report;
  report.Add("udp, p50", "us", {5.5, 5, 6}, 5);
  report.Add("udp \"rate\"", "requests/s", {1234567});
  report.AddMissing("gRPC, p50", "not available");
  return report;
}

TEST(ReportTest, Table) {
  EXPECT_EQ(Example().Table(),
            "figure            median  unit               floor   ratio  lowest .. highest\n"
            "udp, p50           5.500  us                 5.000    1.10  5.000 .. 6.000\n"
            "udp \"rate\"     1 234 567  requests/s                        "
            "1 234 567 .. 1 234 567\n"
            "gRPC, p50   not available\n");
}

TEST(ReportTest, Json) {
  EXPECT_EQ(Example().Json(), R"({
  "rows": [
    {
      "figure": "udp, p50",
      "value": 5.5,
      "unit": "us",
      "floor": 5,
      "ratio": 1.1,
      "runs": [
        5.5,
        5,
        6
      ]
    },
    {
      "figure": "udp \"rate\"",
      "value": 1.23457e+06,
      "unit": "requests/s",
      "floor": null,
      "ratio": null,
      "runs": [
        1.23457e+06
      ]
    }
  ]
}
)");
}

TEST(ReportTest, UnwritableFileIsAnError) {
  EXPECT_FALSE(Report().WriteJson("/nowhere/at/all.json").ok());
}

TEST(BarsTest, SayWhetherTheyAreMet) {
  Bars bars;
  EXPECT_EQ(bars.Table(), "");
  bars.AtLeast("throughput", 3.5, 3);
  EXPECT_TRUE(bars.all_met());
  bars.AtMost("latency", 1.2, 1.15);
  EXPECT_FALSE(bars.all_met());
  const std::string table = bars.Table();
  EXPECT_NE(table.find("1.200  <=  1.15  MISSED\n"), std::string::npos) << table;
  EXPECT_NE(table.find("3.500  >=  3.00  met\n"), std::string::npos) << table;
}

}  // namespace
}  // namespace weft::benchmarks
