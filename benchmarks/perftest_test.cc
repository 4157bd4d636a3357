// SPDX-License-Identifier: Apache-2.0
#include "weft/benchmarks/perftest.h"

#include "gtest/gtest.h"

namespace weft::benchmarks {
namespace {

constexpr char kLatency[] =
    "---------------------------------------------------------------------------------------\n"
    " #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]    t_avg[usec]    "
    "t_stdev[usec]   99% percentile[usec]   99.9% percentile[usec] \n"
    " 64      1000          20.51          10169.98      21.32    \t       186.98      \t840.37 "
    "\t\t4585.50 \t\t10169.98\n"
    "---------------------------------------------------------------------------------------\n";
constexpr char kBandwidth[] =
    " #bytes     #iterations    BW peak[MB/sec]    BW average[MB/sec]   MsgRate[Mpps]\n"
    " 1048576    100              27.50              18.80  \t\t   0.000019\n";

TEST(PerftestTest, ReadsWhatItPrints) {
  EXPECT_DOUBLE_EQ(*ParsePerftest(kLatency, PerftestFigure::kTypicalUs), 21.32);
  EXPECT_DOUBLE_EQ(*ParsePerftest(kBandwidth, PerftestFigure::kBytesPerSecond), 18.80 * 1048576);
  EXPECT_DOUBLE_EQ(*ParsePerftest(kBandwidth, PerftestFigure::kMessagesPerSecond), 19);
}

TEST(PerftestTest, ReadsPastAWordInBetween) {
  constexpr char kOutput[] =
      " #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]    t_avg[usec] \n"
      "Correlation coefficient r^2: 0.859603 < 0.9\n"
      " 8       200          24.52          377.77       24.84    \t       27.27 \n";
  EXPECT_DOUBLE_EQ(*ParsePerftest(kOutput, PerftestFigure::kTypicalUs), 24.84);
}

TEST(PerftestTest, TellsWhatItPrintedInPlaceOfAFigure) {
  const auto figure = ParsePerftest("Failed to open device\n", PerftestFigure::kTypicalUs);
  ASSERT_FALSE(figure.ok());
  EXPECT_NE(figure.status().message().find("Failed to open device"), std::string::npos);
  EXPECT_FALSE(ParsePerftest(kBandwidth, PerftestFigure::kTypicalUs).ok());
  EXPECT_FALSE(ParsePerftest(" #bytes BW average[MB/sec]", PerftestFigure::kBytesPerSecond).ok());
}

TEST(PerftestTest, SaysWhatToInstall) {
  const auto figure = MeasurePerftest({.program = "no_such_program", .arguments = {}},
                                      PerftestFigure::kTypicalUs, {}, {}, absl::Seconds(1));
  EXPECT_EQ(figure.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_NE(figure.status().message().find("install perftest"), std::string::npos);
}

}  // namespace
}  // namespace weft::benchmarks
