// SPDX-License-Identifier: Apache-2.0
//
// Curves as a picture, drawn by gnuplot.
//
//   absl::Status drawn = DrawPlot("p99.svg", {.title = "...", .x = "load", .y = "p99"}, series);
#ifndef WEFT_BENCHMARKS_PLOT_H_
#define WEFT_BENCHMARKS_PLOT_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace weft::benchmarks {

struct PlotLabels {
  std::string title;
  std::string x;
  std::string y;
  bool logarithmic_y = true;
};

struct PlotSeries {
  std::string name;
  std::vector<std::pair<double, double>> points;
};

// What gnuplot is told. `path` ends in ".svg" or ".png".
std::string PlotScript(const std::string& path, const PlotLabels& labels,
                       const std::vector<PlotSeries>& series);

// InvalidArgument for another kind of file: to be known before there is something to draw.
absl::Status CheckPlotPath(const std::string& path);

// Writes the picture. InvalidArgument for another kind of file; Unimplemented where gnuplot is not
// installed.
absl::Status DrawPlot(const std::string& path, const PlotLabels& labels,
                      const std::vector<PlotSeries>& series);

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_PLOT_H_
