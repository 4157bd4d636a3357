// SPDX-License-Identifier: Apache-2.0
#include "weft/benchmarks/service_times.h"

#include <cmath>
#include <fstream>
#include <numeric>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace weft::benchmarks {

absl::StatusOr<ServiceTimes> ServiceTimes::Parse(absl::string_view text) {
  ServiceTimes times;
  if (text == "exponential") return times;
  if (text == "fixed") {
    times.kind_ = Kind::kBimodal;
    return times;
  }
  if (text == "bimodal") return Bimodal("0.9,0.5,5.5");
  if (absl::ConsumePrefix(&text, "bimodal:")) return Bimodal(text);
  if (absl::ConsumePrefix(&text, "trace:")) return Trace(std::string(text));
  return absl::InvalidArgumentError(
      absl::StrCat("service times '", text,
                   "'; there are fixed, exponential, bimodal:P,SHORT,LONG, trace:FILE"));
}

absl::StatusOr<ServiceTimes> ServiceTimes::Bimodal(absl::string_view parameters) {
  const std::vector<absl::string_view> parts = absl::StrSplit(parameters, ',');
  ServiceTimes times;
  times.kind_ = Kind::kBimodal;
  if (parts.size() != 3 || !absl::SimpleAtod(parts[0], &times.short_probability_) ||
      !absl::SimpleAtod(parts[1], &times.short_) || !absl::SimpleAtod(parts[2], &times.long_) ||
      !(times.short_probability_ >= 0 && times.short_probability_ <= 1) || !(times.short_ > 0) ||
      !(times.long_ > 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("bimodal:", parameters, ": a probability and two times are wanted"));
  }
  const double mean =
      times.short_probability_ * times.short_ + (1 - times.short_probability_) * times.long_;
  times.short_ /= mean;
  times.long_ /= mean;
  return times;
}

absl::StatusOr<ServiceTimes> ServiceTimes::Trace(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat("trace:", path, ": cannot be read"));
  std::vector<double> list;
  for (double value; file >> value;) {
    if (!(value > 0) || !std::isfinite(value)) {
      return absl::InvalidArgumentError(
          absl::StrCat("trace:", path, ": number ", list.size() + 1, " is not greater than 0"));
    }
    list.push_back(value);
  }
  if (!file.eof() || list.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("trace:", path, ": what stands behind number ", list.size(), " is none"));
  }
  const double mean =
      std::accumulate(list.begin(), list.end(), 0.0) / static_cast<double>(list.size());
  ServiceTimes times;
  times.kind_ = Kind::kList;
  for (const double value : list) times.list_.push_back(static_cast<float>(value / mean));
  return times;
}

double ServiceTimes::Draw(Prng& random) const {
  switch (kind_) {
    case Kind::kExponential:
      return -std::log1p(-random.Unit());
    case Kind::kBimodal:
      return random.Chance(short_probability_) ? short_ : long_;
    case Kind::kList:
      return list_[random.Below(list_.size())];
  }
  return 1;
}

}  // namespace weft::benchmarks
