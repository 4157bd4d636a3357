// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/report.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "weft/core/json_writer.h"

namespace weft::benchmarks {
namespace {

// Three significant digits, with thousands set apart from 10,000 up.
std::string Readable(double value) {
  if (value < 10) return absl::StrFormat("%.3f", value);
  if (value < 100) return absl::StrFormat("%.2f", value);
  if (value < 1000) return absl::StrFormat("%.1f", value);
  std::string digits = absl::StrFormat("%.0f", value);
  if (digits.size() < 5) return digits;
  for (size_t i = digits.size(); i > 3;) digits.insert(i -= 3, 1, ' ');
  return digits;
}

}  // namespace

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double MedianRatio(const std::vector<double>& figures, const std::vector<double>& others) {
  std::vector<double> ratios;
  for (size_t i = 0; i < std::min(figures.size(), others.size()); ++i) {
    ratios.push_back(figures[i] / others[i]);
  }
  return Median(std::move(ratios));
}

void Report::Add(std::string figure, std::string unit, std::vector<double> runs,
                 std::optional<double> floor) {
  rows_.push_back({std::move(figure), std::move(unit), std::move(runs), floor, ""});
}

void Report::AddMissing(std::string figure, std::string reason) {
  rows_.push_back({std::move(figure), "", {}, std::nullopt, std::move(reason)});
}

std::string Report::Table() const {
  size_t width = 6;
  for (const Row& row : rows_) width = std::max(width, row.figure.size());
  const bool floors =
      std::any_of(rows_.begin(), rows_.end(), [](const Row& row) { return row.floor.has_value(); });
  std::string text = absl::StrFormat("%-*s  %12s  %-10s", width, "figure", "median", "unit");
  if (floors) absl::StrAppendFormat(&text, "  %12s  %6s", "floor", "ratio");
  absl::StrAppend(&text, "  lowest .. highest\n");
  for (const Row& row : rows_) {
    if (!row.missing.empty()) {
      absl::StrAppendFormat(&text, "%-*s  %s\n", width, row.figure, row.missing);
      continue;
    }
    const double median = Median(row.runs);
    absl::StrAppendFormat(&text, "%-*s  %12s  %-10s", width, row.figure, Readable(median),
                          row.unit);
    if (row.floor.has_value()) {
      absl::StrAppendFormat(&text, "  %12s  %6.2f", Readable(*row.floor), median / *row.floor);
    } else if (floors) {
      absl::StrAppendFormat(&text, "  %12s  %6s", "", "");
    }
    const auto [low, high] = std::minmax_element(row.runs.begin(), row.runs.end());
    if (low != row.runs.end()) {
      absl::StrAppend(&text, "  ", Readable(*low), " .. ", Readable(*high));
    }
    text += '\n';
  }
  return text;
}

std::string Report::Json() const {
  JsonWriter json;
  json.BeginObject();
  json.Key("rows").BeginArray();
  for (const Row& row : rows_) {
    if (!row.missing.empty()) continue;
    constexpr double kNone = std::numeric_limits<double>::quiet_NaN();  // null in JSON
    const double median = Median(row.runs);
    json.BeginObject();
    json.Field("figure", row.figure);
    json.Field("value", median);
    json.Field("unit", row.unit);
    json.Field("floor", row.floor.value_or(kNone));
    json.Field("ratio", median / row.floor.value_or(kNone));
    json.Key("runs").BeginArray();
    for (const double run : row.runs) json.Value(run);
    json.EndArray();
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
  return json.text() + "\n";
}

absl::Status Report::WriteJson(const std::string& path) const {
  std::ofstream file(path);
  file << Json();
  file.close();
  if (!file) return absl::UnavailableError(absl::StrCat("cannot write ", path));
  return absl::OkStatus();
}

int Report::Finish(const char* program, const std::string& json_path, bool failed) const {
  if (json_path.empty()) return failed ? 1 : 0;
  const absl::Status written = WriteJson(json_path);
  if (!written.ok()) {
    std::fprintf(stderr, "%s: %s\n", program, std::string(written.message()).c_str());
  }
  return failed || !written.ok() ? 1 : 0;
}

std::string Bars::Table() const {
  if (lines_.empty()) return "";
  size_t width = 0;
  for (const Line& line : lines_) width = std::max(width, line.what.size());
  std::string text = absl::StrFormat("%-*s  %8s  %8s\n", width, "bar", "is", "asked");
  for (const Line& line : lines_) {
    absl::StrAppendFormat(&text, "%-*s  %8.3f  %s %5.2f  %s\n", width, line.what, line.is,
                          line.relation, line.limit, line.met ? "met" : "MISSED");
  }
  return text;
}

}  // namespace weft::benchmarks
