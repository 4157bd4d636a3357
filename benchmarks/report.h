// SPDX-License-Identifier: Apache-2.0
//
// What a benchmark found: a table for people, and JSON for programs.
//
//   Report report;
//   report.Add("udp busy, p50", "us", {5.1, 5.3, 5.2}, 4.8);
//   Bars bars;
//   bars.AtMost("udp busy, p50 / raw UDP, p50", 1.08, 1.15);
//   std::cout << report.Table() << bars.Table();
//   absl::Status status = report.WriteJson("figures.json");

#ifndef WEFT_BENCHMARKS_REPORT_H_
#define WEFT_BENCHMARKS_REPORT_H_

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace weft::benchmarks {

// The middle value, or the mean of the two middle ones; 0 of none.
double Median(std::vector<double> values);

// The median of the ratios of figures to others within each run, whose measurements follow one
// another: what the machine did meanwhile, it did to both.
double MedianRatio(const std::vector<double>& figures, const std::vector<double>& others);

class Report {
 public:
  // A figure: the median of `runs`, and its ratio to `floor`, if there is one.
  void Add(std::string figure, std::string unit, std::vector<double> runs,
           std::optional<double> floor = std::nullopt);

  // A figure that could not be measured, and why: a line of the table, and nothing in the JSON.
  void AddMissing(std::string figure, std::string reason);

  // Aligned columns, a line for each figure in the order they were added, each ended by a newline.
  std::string Table() const;

  // {"rows":[{"figure","value","unit","floor","ratio","runs"}]}; floor and ratio are null if there
  // is no floor, and runs is the list that was added.
  std::string Json() const;

  // Json() as a file. Fails if the file cannot be written.
  absl::Status WriteJson(const std::string& path) const;

  // How a program ends that has shown its figures: writes them to `json_path`, unless that is
  // empty, and returns the exit status, 1 if that `failed` or the file cannot be written.
  int Finish(const char* program, const std::string& json_path, bool failed) const;

 private:
  struct Row {
    std::string figure;
    std::string unit;
    std::vector<double> runs;
    std::optional<double> floor;
    std::string missing;  // Why there is no figure; empty when there is one.
  };

  std::vector<Row> rows_;
};

// What the project holds itself to, beside what was measured.
class Bars {
 public:
  void AtMost(std::string what, double is, double limit) {
    lines_.push_back({std::move(what), is, limit, is <= limit, "<="});
  }
  void AtLeast(std::string what, double is, double limit) {
    lines_.push_back({std::move(what), is, limit, is >= limit, ">="});
  }

  // True if there are none.
  bool all_met() const {
    return std::all_of(lines_.begin(), lines_.end(), [](const Line& line) { return line.met; });
  }

  // A line for each in the order they were added, below a heading; empty if there are none.
  std::string Table() const;

 private:
  struct Line {
    std::string what;
    double is;
    double limit;
    bool met;
    const char* relation;
  };

  std::vector<Line> lines_;
};

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_REPORT_H_
