// SPDX-License-Identifier: Apache-2.0
#include "weft/cli/rpc_top_view.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "weft/cli/host_json.h"
#include "weft/cli/table.h"

namespace weft::cli {
namespace {

constexpr int64_t kNsPerS = 1'000'000'000;
constexpr int64_t kLatencyNs = 10 * kNsPerS;
constexpr size_t kNameMax = 60;  // characters of a method or a peer
constexpr size_t kNameMin = 12;
constexpr size_t kTextMax = 16;  // of other cells

constexpr TopOrder kOrders[] = {TopOrder::kRate, TopOrder::kErrors, TopOrder::kInFlight,
                                TopOrder::kLatency, TopOrder::kName};

// Three significant digits and the unit that makes the number 1 to 999.
std::string Scaled(double value, absl::Span<const char* const> units) {
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < units.size()) {
    value /= 1000;
    ++unit;
  }
  const bool whole = value == std::floor(value) && unit == 0;
  const int decimals = whole || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return absl::StrFormat("%.*f%s", decimals, value, units[unit]);
}

std::string Optional(const std::optional<double>& number, int decimals) {
  return number.has_value() ? absl::StrFormat("%.*f", decimals, *number) : "-";
}

// "3m4s": nothing below seconds.
std::string AgeText(double ms) {
  return absl::FormatDuration(absl::Seconds(static_cast<int64_t>(ms / 1000)));
}

std::string Cut(const std::string& text, size_t length) {
  return text.size() <= length ? text : absl::StrCat(text.substr(0, length - 1), "~");
}

// A row of a table before it is text: what it is sorted by, and its cells.
struct Row {
  double key = 0;
  std::vector<std::string> cells;
};

// Lines of the rows in order, their first cells cut to what `width` leaves for them.
std::vector<std::string> Lines(std::vector<std::string> head, std::vector<Row> rows, size_t texts,
                               size_t width) {
  if (rows.empty()) return {};
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
    return std::tie(b.key, a.cells) < std::tie(a.key, b.cells);
  });
  std::vector<std::vector<std::string>> cells = {std::move(head)};
  for (Row& row : rows) cells.push_back(std::move(row.cells));
  for (auto& row : cells) {
    for (std::string& cell : row) {
      cell = Cut(Printable(cell), &cell == &row[0] ? kNameMax : kTextMax);
    }
  }
  std::vector<std::string> lines = TableLines(cells, texts);
  if (lines[0].size() <= width) return lines;

  size_t longest = 0;
  for (const auto& row : cells) longest = std::max(longest, row[0].size());
  const size_t excess = lines[0].size() - width;
  const size_t left = longest > excess + kNameMin ? longest - excess : kNameMin;
  for (auto& row : cells) row[0] = Cut(row[0], left);
  return TableLines(cells, texts);
}

}  // namespace

const char* NameOf(TopOrder order) {
  switch (order) {
    case TopOrder::kRate:
      return "rate";
    case TopOrder::kErrors:
      return "errors";
    case TopOrder::kInFlight:
      return "in flight";
    case TopOrder::kLatency:
      return "latency";
    case TopOrder::kName:
      return "name";
  }
  return "";
}

TopOrder NextOf(TopOrder order) {
  const size_t next = static_cast<size_t>(order) + 1;
  return kOrders[next % std::size(kOrders)];
}

std::string RateText(double per_second) { return Scaled(per_second, {"", "k", "M", "G"}); }

std::string TimeText(double ns) {
  return ns > 0 ? Scaled(ns, {"ns", "us", "ms", "s"}) : std::string("-");
}

double QuantileOf(const std::map<double, double>& buckets, double part) {
  double count = 0;
  for (const auto& [upper_ns, calls] : buckets) count += calls;
  double left = std::max(1.0, std::ceil(part * count));
  for (const auto& [upper_ns, calls] : buckets) {
    left -= calls;
    if (left <= 0) return upper_ns;
  }
  return 0;
}

void TopView::Add(TopSample sample) {
  const bool restarted =
      !samples_.empty() && (now().pid != sample.pid || now().uptime_ms > sample.uptime_ms);
  if (restarted) samples_.clear();
  samples_.push_back(std::move(sample));
  while (samples_.size() > 2 && now().at_ns - samples_[1].at_ns >= kLatencyNs) {
    samples_.pop_front();
  }
}

const TopSample& TopView::before() const {
  return samples_.size() > 1 ? samples_[samples_.size() - 2] : samples_.back();
}

double TopView::Rate(double now, double before) const {
  const auto ns = static_cast<double>(this->now().at_ns - this->before().at_ns);
  return ns > 0 ? std::max(0.0, now - before) * kNsPerS / ns : 0;
}

std::map<double, double> TopView::RecentBuckets(const std::string& key) const {
  if (samples_.size() == 1) return {};
  std::map<double, double> recent = now().methods.at(key).buckets;
  const auto begin = samples_.front().methods.find(key);
  if (begin != samples_.front().methods.end()) {
    for (const auto& [upper_ns, calls] : begin->second.buckets) recent[upper_ns] -= calls;
  }
  return recent;
}

std::string TopView::Program() const {
  if (samples_.empty()) return "";
  const TopSample& program = now();
  return Printable(absl::StrCat(program.program, ": ", program.state, " for ",
                                AgeText(program.uptime_ms), ", pid ", Whole(program.pid), ", ",
                                program.transport, ", ", Whole(program.workers),
                                program.workers == 1 ? " worker" : " workers"));
}

std::string TopView::Totals() const {
  if (samples_.empty()) return "";
  const auto rate = [this](double TopSample::*number) {
    return RateText(Rate(now().*number, before().*number));
  };
  return absl::StrCat(rate(&TopSample::served), " served/s, ", rate(&TopSample::called),
                      " called/s, ", rate(&TopSample::failed), " errors/s, ",
                      Whole(now().in_flight), " in flight, ", Whole(now().sessions_total),
                      now().sessions_total == 1 ? " session" : " sessions");
}

std::string TopView::Trouble() const {
  return samples_.empty() ? "" : Printable(absl::StrJoin(now().silent, "; "));
}

std::vector<std::string> TopView::Methods(size_t width) const {
  if (samples_.empty()) return {};
  std::vector<Row> rows;
  for (const auto& [key, method] : now().methods) {
    const auto found = before().methods.find(key);
    const TopMethod& then = found == before().methods.end() ? method : found->second;
    const double rate = Rate(method.calls, then.calls);
    const double errors = Rate(method.errors, then.errors);
    std::map<double, double> buckets = RecentBuckets(key);
    const bool recent = QuantileOf(buckets, 1) > 0;
    if (!recent) buckets = method.buckets;
    const auto latency = [&](double part) {
      const std::string text = TimeText(QuantileOf(buckets, part));
      return recent || text == "-" ? text : absl::StrCat("(", text, ")");
    };
    const double key_of[] = {rate, errors, method.in_flight, QuantileOf(buckets, 0.99), 0};
    rows.push_back(
        {key_of[static_cast<size_t>(order_)],
         {method.method, method.side, RateText(rate), RateText(errors), Whole(method.in_flight),
          latency(0.5), latency(0.99), Whole(method.calls), Whole(method.errors)}});
  }
  return Lines(
      {"METHOD", "SIDE", "CALLS/S", "ERRORS/S", "IN FLIGHT", "P50", "P99", "CALLS", "ERRORS"},
      std::move(rows), 2, width);
}

std::vector<std::string> TopView::Sessions(size_t width) const {
  if (samples_.empty()) return {};
  std::vector<Row> rows;
  for (const auto& [key, session] : now().sessions) {
    const auto found = before().sessions.find(key);
    const TopSession& then = found == before().sessions.end() ? session : found->second;
    const double rate = Rate(session.requests, then.requests);
    const double srtt_us = session.srtt_us.value_or(0);
    const double key_of[] = {rate, session.retransmissions.value_or(0), session.in_flight, srtt_us,
                             0};
    rows.push_back(
        {key_of[static_cast<size_t>(order_)],
         {session.peer, session.kind, session.state, session.worker, RateText(rate),
          Whole(session.in_flight), TimeText(srtt_us * 1000), Optional(session.retransmissions, 0),
          Optional(session.credits, 0), Optional(session.window, 1), AgeText(session.age_ms)}});
  }
  return Lines({"PEER", "SIDE", "STATE", "WORKER", "REQUESTS/S", "IN FLIGHT", "RTT", "RESENT",
                "CREDITS", "WINDOW", "AGE"},
               std::move(rows), 3, width);
}

}  // namespace weft::cli
