// SPDX-License-Identifier: Apache-2.0
#include "weft/benchmarks/plot.h"

#include <fstream>
#include <sstream>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "weft/core/temp_directory.h"

namespace weft::benchmarks {
namespace {

const PlotLabels kLabels = {.title = "it's a title", .x = "load", .y = "p99"};
const std::vector<PlotSeries> kSeries = {{"one", {{0.1, 1}, {0.2, 2}}}, {"two", {{0.1, 3}}}};

TEST(PlotTest, TheScriptHasAllCurves) {
  const std::string script = PlotScript("a.svg", kLabels, kSeries);
  EXPECT_TRUE(absl::StrContains(script, "set terminal svg"));
  EXPECT_TRUE(absl::StrContains(script, "set title 'it''s a title'\n"));
  EXPECT_TRUE(absl::StrContains(script, "$data0 << EOD\n0.1 1\n0.2 2\nEOD\n"));
  EXPECT_TRUE(absl::StrContains(script, "$data1 using 1:2 with linespoints title 'two'"));
  EXPECT_TRUE(absl::StrContains(PlotScript("a.png", kLabels, kSeries), "set terminal pngcairo"));
}

TEST(PlotTest, LogarithmicAxesReachAsFarAsTheirCurves) {
  const auto axis = [](double low, double high) {
    const std::string script = PlotScript("a.svg", kLabels, {{"one", {{0.1, low}, {0.2, high}}}});
    const size_t begin = script.find("set yrange");
    return begin == std::string::npos ? "" : script.substr(begin, script.find(")\n") + 1 - begin);
  };
  EXPECT_EQ(axis(3, 40), "set yrange [2:50]\nset ytics (2, 5, 10, 20, 50)");
  EXPECT_EQ(axis(1, 10), "set yrange [1:10]\nset ytics (1, 2, 5, 10)");
  EXPECT_EQ(axis(7, 7), "set yrange [5:10]\nset ytics (5, 10)");
  EXPECT_EQ(axis(5, 5), "set yrange [5:10]\nset ytics (5, 10)");
  EXPECT_EQ(axis(5783, 29229), "set yrange [5000:50000]\nset ytics (5000, 10000, 20000, 50000)");
  EXPECT_EQ(axis(0, 0), "") << "nothing to draw";
}

TEST(PlotTest, DrawsOrSaysWhatIsMissing) {
  const TempDirectory directory;
  const std::string path = directory.path() + "/curves.svg";
  const absl::Status drawn = DrawPlot(path, kLabels, kSeries);
  if (absl::IsUnimplemented(drawn)) {
    EXPECT_TRUE(absl::StrContains(drawn.message(), "gnuplot-nox"));
    return;
  }
  ASSERT_TRUE(drawn.ok()) << drawn;
  std::stringstream picture;
  picture << std::ifstream(path).rdbuf();
  EXPECT_TRUE(absl::StrContains(picture.str(), "<svg"));
}

TEST(PlotTest, OtherKindsOfFilesAreRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(DrawPlot("curves.gif", kLabels, kSeries)));
  EXPECT_TRUE(absl::IsInvalidArgument(CheckPlotPath("curves.gif")));
  EXPECT_TRUE(CheckPlotPath("curves.png").ok());
}

}  // namespace
}  // namespace weft::benchmarks
