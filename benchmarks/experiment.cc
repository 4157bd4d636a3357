// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/experiment.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"

namespace weft::benchmarks {

void Experiment::Add(std::string figure, std::string unit, Measure measure) {
  series_.push_back(
      {.figure = std::move(figure), .unit = std::move(unit), .measure = std::move(measure)});
}

void Experiment::AtMost(std::string figure, std::string other, double limit) {
  comparisons_.push_back({std::move(figure), std::move(other), Form::kAtMost, limit});
}

void Experiment::AtLeast(std::string figure, std::string other, double limit) {
  comparisons_.push_back({std::move(figure), std::move(other), Form::kAtLeast, limit});
}

void Experiment::TimesLower(std::string figure, std::string other, double limit) {
  comparisons_.push_back({std::move(figure), std::move(other), Form::kTimesLower, limit});
}

void Experiment::AtMostMore(std::string figure, std::string other, double limit) {
  comparisons_.push_back({std::move(figure), std::move(other), Form::kAtMostMore, limit});
}

void Experiment::AtMost(std::string figure, double limit) {
  comparisons_.push_back({std::move(figure), "", Form::kAtMost, limit});
}

void Experiment::Run(int runs) {
  for (int run = 0; run < runs; ++run) {
    for (Series& series : series_) {
      if (!series.status.ok()) continue;
      std::fprintf(stderr, "\r\033[K[%d/%d] %s", run + 1, runs, series.figure.c_str());
      const absl::StatusOr<double> value = series.measure();
      series.status = value.status();
      if (value.ok()) series.runs.push_back(*value);
    }
  }
  std::fprintf(stderr, "\r\033[K");
}

const Experiment::Series* Experiment::Find(const std::string& figure) const {
  for (const Series& series : series_) {
    if (series.figure != figure) continue;
    return series.status.ok() && !series.runs.empty() ? &series : nullptr;
  }
  return nullptr;
}

Report Experiment::ToReport() const {
  Report report;
  for (const Series& series : series_) {
    if (!series.status.ok()) {
      report.AddMissing(series.figure, std::string(series.status.message()));
      continue;
    }
    bool reported = false;
    for (const Comparison& comparison : comparisons_) {
      const Series* const other = Find(comparison.other);
      if (comparison.figure != series.figure || other == nullptr) continue;
      report.Add(
          reported ? absl::StrCat(series.figure, ", against ", other->figure) : series.figure,
          series.unit, series.runs, Median(other->runs));
      reported = true;
    }
    if (!reported) report.Add(series.figure, series.unit, series.runs);
  }
  return report;
}

Bars Experiment::ToBars() const {
  Bars bars;
  for (const Comparison& comparison : comparisons_) {
    const Series* const figure = Find(comparison.figure);
    if (figure != nullptr && comparison.other.empty()) {
      bars.AtMost(comparison.figure, Median(figure->runs), comparison.limit);
    }
    const Series* const other = Find(comparison.other);
    if (figure == nullptr || other == nullptr) continue;
    const std::string what = absl::StrCat(comparison.figure, " / ", comparison.other);
    switch (comparison.form) {
      case Form::kAtMost:
        bars.AtMost(what, MedianRatio(figure->runs, other->runs), comparison.limit);
        break;
      case Form::kAtLeast:
        bars.AtLeast(what, MedianRatio(figure->runs, other->runs), comparison.limit);
        break;
      case Form::kTimesLower:
        bars.AtLeast(absl::StrCat(comparison.other, " / ", comparison.figure),
                     MedianRatio(other->runs, figure->runs), comparison.limit);
        break;
      case Form::kAtMostMore: {
        std::vector<double> more;
        for (size_t i = 0; i < figure->runs.size(); ++i) {
          more.push_back(figure->runs[i] - other->runs[i]);
        }
        bars.AtMost(absl::StrCat(comparison.figure, " - ", comparison.other), Median(more),
                    comparison.limit);
        break;
      }
    }
  }
  return bars;
}

bool Experiment::failed() const {
  return std::any_of(series_.begin(), series_.end(), [](const Series& series) {
    return !series.status.ok() && !absl::IsUnimplemented(series.status);
  });
}

}  // namespace weft::benchmarks
