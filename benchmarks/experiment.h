// SPDX-License-Identifier: Apache-2.0
//
// Figures that are measured in turn, several times, and compared with one another:
//
//   Experiment experiment;
//   experiment.Add("typed shm, p50", "us", [&] { return MeasureTyped(...); });
//   experiment.Add("raw shm, p50", "us", [&] { return MeasureRaw(...); });
//   experiment.AtMost("typed shm, p50", "raw shm, p50", 1.5);
//   experiment.Run(5);
//   std::cout << experiment.ToReport().Table() << experiment.BarTable();
//
// A figure that fails is not measured again, and says why in the report. What is not installed
// (Unimplemented) is missing; anything else has failed.

#ifndef WEFT_BENCHMARKS_EXPERIMENT_H_
#define WEFT_BENCHMARKS_EXPERIMENT_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "weft/benchmarks/report.h"

namespace weft::benchmarks {

class Experiment {
 public:
  using Measure = std::function<absl::StatusOr<double>()>;

  // Figures are measured in the order they are added: those that are compared, next to each other.
  void Add(std::string figure, std::string unit, Measure measure);

  // Compare two figures in each run; the median of what comes out is held against the bar. The
  // other figure is the floor of the first one's row; a further one gets a row of its own.
  void AtMost(std::string figure, std::string other, double limit);      // figure / other
  void AtLeast(std::string figure, std::string other, double limit);     // figure / other
  void TimesLower(std::string figure, std::string other, double limit);  // other / figure
  void AtMostMore(std::string figure, std::string other, double limit);  // figure - other
  // Holds the median of a figure itself against the bar.
  void AtMost(std::string figure, double limit);

  // Shows its progress on standard error.
  void Run(int runs);

  Report ToReport() const;

  // A line for each comparison of figures that there are.
  std::string BarTable() const { return ToBars().Table(); }
  // True if there are none.
  bool bars_met() const { return ToBars().all_met(); }

  bool failed() const;

 private:
  struct Series {
    std::string figure;
    std::string unit;
    Measure measure;
    std::vector<double> runs = {};
    absl::Status status = {};
  };
  enum class Form { kAtMost, kAtLeast, kTimesLower, kAtMostMore };
  struct Comparison {
    std::string figure;
    std::string other;  // empty: none
    Form form;
    double limit;
  };

  const Series* Find(const std::string& figure) const;  // null if it is not there or failed
  Bars ToBars() const;

  std::vector<Series> series_;
  std::vector<Comparison> comparisons_;
};

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_EXPERIMENT_H_
