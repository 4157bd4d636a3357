// SPDX-License-Identifier: Apache-2.0

#include "weft/core/metrics.h"

#include <algorithm>
#include <cassert>
#include <charconv>
#include <cmath>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "weft/core/utf8.h"

namespace weft {
namespace {

constexpr size_t kMaxTextBytes = 1024;
constexpr size_t kMaxLabels = 16;
constexpr const char* kHistogramSuffixes[] = {"_bucket", "_sum", "_count"};

// [a-zA-Z_][a-zA-Z0-9_]*, with ':' as a letter where `colon` says so.
bool IsName(const std::string& text, bool colon) {
  if (text.empty() || text.size() > kMaxTextBytes || absl::ascii_isdigit(text[0])) return false;
  return std::all_of(text.begin(), text.end(), [colon](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '_' || (colon && c == ':');
  });
}

absl::Status CheckText(const char* what, const std::string& text) {
  // One stray byte would make Prometheus drop the whole page.
  if (text.size() <= kMaxTextBytes && IsUtf8(text)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(what, " \"", absl::CHexEscape(text.substr(0, 80)),
                                                 "\" must be UTF-8 of at most ", kMaxTextBytes,
                                                 " bytes"));
}

absl::Status CheckInfo(const MetricInfo& info, MetricType type) {
  if (!IsName(info.name, /*colon=*/true)) {
    return absl::InvalidArgumentError(absl::StrCat("metric name \"",
                                                   absl::CHexEscape(info.name.substr(0, 80)),
                                                   "\" must match [a-zA-Z_:][a-zA-Z0-9_:]*"));
  }
  if (absl::Status status = CheckText("help text", info.help); !status.ok()) return status;
  if (info.labels.size() > kMaxLabels) {
    return absl::InvalidArgumentError(absl::StrCat(
        "metric ", info.name, " has ", info.labels.size(), " labels; at most ", kMaxLabels));
  }
  for (const auto& [name, value] : info.labels) {
    if (!IsName(name, /*colon=*/false) || absl::StartsWith(name, "__")) {
      return absl::InvalidArgumentError(absl::StrCat(
          "metric ", info.name, ": label name \"", absl::CHexEscape(name.substr(0, 80)),
          "\" must match [a-zA-Z_][a-zA-Z0-9_]* and not begin with \"__\""));
    }
    if (type == MetricType::kHistogram && name == "le") {
      return absl::InvalidArgumentError(
          absl::StrCat("metric ", info.name, ": label \"le\" is taken by a histogram's buckets"));
    }
    if (absl::Status status = CheckText("label value", value); !status.ok()) return status;
  }
  return absl::OkStatus();
}

void AppendEscaped(const std::string& text, bool escape_quote, std::string* out) {
  for (char c : text) {
    if (c == '\n') {
      out->append("\\n");
      continue;
    }
    if (c == '\\' || (escape_quote && c == '"')) out->push_back('\\');
    out->push_back(c);
  }
}

// a="1",b="2": sorted, escaped, without the braces, so that a histogram can add its own label.
std::string RenderLabels(const std::vector<std::pair<std::string, std::string>>& sorted) {
  std::string text;
  for (const auto& [name, value] : sorted) {
    absl::StrAppend(&text, text.empty() ? "" : ",", name, "=\"");
    AppendEscaped(value, /*escape_quote=*/true, &text);
    text.push_back('"');
  }
  return text;
}

void AppendNumber(double value, std::string* out) {
  if (std::isnan(value)) {
    out->append("NaN");
  } else if (std::isinf(value)) {
    out->append(value > 0 ? "+Inf" : "-Inf");
  } else {
    char text[32];  // the shortest form that reads back exactly has at most 24 characters
    out->append(text, std::to_chars(text, text + sizeof(text), value).ptr);
  }
}

void AppendNumber(uint64_t value, std::string* out) { absl::StrAppend(out, value); }
void AppendNumber(int64_t value, std::string* out) { absl::StrAppend(out, value); }

template <typename Number>
void AppendSample(const std::string& name, const char* suffix, const std::string& labels,
                  Number value, std::string* out) {
  absl::StrAppend(out, name, suffix);
  if (!labels.empty()) absl::StrAppend(out, "{", labels, "}");
  out->push_back(' ');
  AppendNumber(value, out);
  out->push_back('\n');
}

const char* TypeName(MetricType type) {
  switch (type) {
    case MetricType::kCounter:
      return "counter";
    case MetricType::kGauge:
      return "gauge";
    case MetricType::kHistogram:
      return "histogram";
  }
  return "untyped";
}

}  // namespace

MetricHandle& MetricHandle::operator=(MetricHandle&& other) noexcept {
  if (this == &other) return *this;
  Reset();
  registry_ = std::exchange(other.registry_, nullptr);
  family_ = std::move(other.family_);
  labels_ = std::move(other.labels_);
  return *this;
}

void MetricHandle::Reset() {
  if (registry_ != nullptr) std::exchange(registry_, nullptr)->Remove(family_, labels_);
}

MetricRegistry::~MetricRegistry() {
  assert(metrics_ == 0 && "a MetricHandle outlives its registry");
}

absl::StatusOr<MetricHandle> MetricRegistry::Register(MetricInfo info, const Counter* counter) {
  const CounterSource source = {counter, info.unless_zero};
  return Insert(std::move(info), MetricType::kCounter, source);
}

absl::StatusOr<MetricHandle> MetricRegistry::Register(MetricInfo info, const Gauge* gauge) {
  return Insert(std::move(info), MetricType::kGauge, gauge);
}

absl::StatusOr<MetricHandle> MetricRegistry::Register(MetricInfo info, const Histogram* histogram,
                                                      HistogramUnit unit) {
  return Insert(std::move(info), MetricType::kHistogram, HistogramSource{histogram, unit});
}

absl::StatusOr<MetricHandle> MetricRegistry::RegisterCallback(MetricInfo info, MetricType type,
                                                              std::function<double()> read) {
  if (type == MetricType::kHistogram) {
    return absl::InvalidArgumentError(absl::StrCat(
        "metric ", info.name, ": a callback gives a counter or a gauge, not a histogram"));
  }
  assert(read != nullptr);
  return Insert(std::move(info), type, std::move(read));
}

absl::StatusOr<MetricHandle> MetricRegistry::Insert(MetricInfo info, MetricType type,
                                                    const Source& source) {
  if (absl::Status status = CheckInfo(info, type); !status.ok()) return status;
  std::sort(info.labels.begin(), info.labels.end());
  for (size_t i = 1; i < info.labels.size(); ++i) {
    if (info.labels[i].first == info.labels[i - 1].first) {
      return absl::InvalidArgumentError(
          absl::StrCat("metric ", info.name, " has the label ", info.labels[i].first, " twice"));
    }
  }
  std::string labels = RenderLabels(info.labels);

  std::lock_guard<std::mutex> lock(mutex_);
  if (metrics_ >= max_metrics_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("metric ", info.name, ": the registry holds its limit of ", max_metrics_,
                     " metrics; use fewer label values or a larger registry"));
  }
  if (absl::Status status = CheckFamilyLocked(info, type); !status.ok()) return status;
  Family& family = families_.try_emplace(info.name, Family{type, info.help, {}}).first->second;
  if (!family.by_labels.try_emplace(labels, source).second) {
    return absl::AlreadyExistsError(
        absl::StrCat("metric ", info.name, "{", labels, "} is already registered"));
  }
  ++metrics_;
  return MetricHandle(this, std::move(info.name), std::move(labels));
}

absl::Status MetricRegistry::CheckFamilyLocked(const MetricInfo& info, MetricType type) const {
  if (auto it = families_.find(info.name); it != families_.end()) {
    if (it->second.type != type) {
      return absl::FailedPreconditionError(
          absl::StrCat("metric ", info.name, " is registered as a ", TypeName(it->second.type),
                       ", not as a ", TypeName(type)));
    }
    if (it->second.help != info.help) {
      return absl::FailedPreconditionError(absl::StrCat(
          "metric ", info.name, " is registered with another help text: ", it->second.help));
    }
    return absl::OkStatus();
  }
  // A histogram's samples carry names of their own, which no other family may use.
  for (const char* suffix : kHistogramSuffixes) {
    std::string clash;
    if (type == MetricType::kHistogram) {
      clash = absl::StrCat(info.name, suffix);
      if (!families_.contains(clash)) clash.clear();
    }
    if (absl::EndsWith(info.name, suffix)) {
      const auto it =
          families_.find(info.name.substr(0, info.name.size() - absl::string_view(suffix).size()));
      if (it != families_.end() && it->second.type == MetricType::kHistogram) clash = it->first;
    }
    if (!clash.empty()) {
      return absl::FailedPreconditionError(absl::StrCat(
          "metric ", info.name, " clashes with the samples of ", clash, "; choose another name"));
    }
  }
  return absl::OkStatus();
}

void MetricRegistry::Remove(const std::string& family, const std::string& labels) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto it = families_.find(family);
  assert(it != families_.end());
  it->second.by_labels.erase(labels);
  if (it->second.by_labels.empty()) families_.erase(it);
  --metrics_;
}

std::string MetricRegistry::RenderPrometheus() const {
  std::string text;
  std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& [name, family] : families_) {
    absl::StrAppend(&text, "# HELP ", name, " ");
    AppendEscaped(family.help, /*escape_quote=*/false, &text);
    absl::StrAppend(&text, "\n# TYPE ", name, " ", TypeName(family.type), "\n");
    for (const auto& [labels, source] : family.by_labels) RenderSample(name, labels, source, &text);
  }
  return text;
}

void MetricRegistry::RenderSample(const std::string& name, const std::string& labels,
                                  const Source& source, std::string* out) {
  if (const auto* counter = std::get_if<CounterSource>(&source)) {
    const uint64_t value = counter->counter->value();
    if (value == 0 && counter->unless_zero) return;
    AppendSample(name, "", labels, value, out);
  } else if (const auto* gauge = std::get_if<const Gauge*>(&source)) {
    AppendSample(name, "", labels, (*gauge)->value(), out);
  } else if (const auto* read = std::get_if<std::function<double()>>(&source)) {
    AppendSample(name, "", labels, (*read)(), out);
  } else {
    RenderHistogram(name, labels, std::get<HistogramSource>(source), out);
  }
}

void MetricRegistry::RenderHistogram(const std::string& name, const std::string& labels,
                                     const HistogramSource& source, std::string* out) {
  const bool seconds = source.unit == HistogramUnit::kNanoseconds;
  const double divisor = seconds ? 1e9 : 1;
  const HistogramSnapshot snapshot = source.histogram->Snapshot();
  const std::string prefix = labels.empty() ? "le=\"" : labels + ",le=\"";

  // The bounds 2^k and 1.5 * 2^k: there the snapshot is exact. Prometheus' "le" includes its bound,
  // ours does not, hence the 1. The list never varies, so that the series of several processes can
  // be added up.
  const int first = seconds ? 8 : 1;
  const int last = seconds ? 34 : 26;
  for (int half_octave = 2 * first; half_octave <= 2 * last; ++half_octave) {
    const int64_t bound = (int64_t{2 + half_octave % 2} << (half_octave / 2)) >> 1;
    std::string bucket = prefix;
    AppendNumber(static_cast<double>(bound - 1) / divisor, &bucket);
    bucket.push_back('"');
    AppendSample(name, "_bucket", bucket, snapshot.CountBelow(bound), out);
  }
  AppendSample(name, "_bucket", prefix + "+Inf\"", snapshot.count(), out);
  AppendSample(name, "_sum", labels, static_cast<double>(snapshot.sum()) / divisor, out);
  AppendSample(name, "_count", labels, snapshot.count(), out);
}

}  // namespace weft
