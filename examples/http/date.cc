// SPDX-License-Identifier: Apache-2.0
#include "weft/examples/http/date.h"

#include <chrono>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"

namespace weft::http {
namespace {

constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
constexpr absl::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";

// Takes from the front of a text, which must have it.
class Reader {
 public:
  explicit Reader(absl::string_view text) : text_(text) {}

  bool Literal(absl::string_view literal) {
    if (text_.substr(0, literal.size()) != literal) return false;
    text_.remove_prefix(literal.size());
    return true;
  }
  bool Digits(size_t count, int* value) {
    if (text_.size() < count) return false;
    *value = 0;
    for (size_t i = 0; i < count; ++i) {
      if (!absl::ascii_isdigit(static_cast<unsigned char>(text_[i]))) return false;
      *value = *value * 10 + (text_[i] - '0');
    }
    text_.remove_prefix(count);
    return true;
  }
  bool Month(int* month) {
    if (text_.size() < 3) return false;
    const size_t at = kMonths.find(text_.substr(0, 3));
    if (at == absl::string_view::npos || at % 3 != 0) return false;
    *month = static_cast<int>(at / 3) + 1;
    text_.remove_prefix(3);
    return true;
  }
  bool Time(int* hours, int* minutes, int* seconds) {
    return Digits(2, hours) && Literal(":") && Digits(2, minutes) && Literal(":") &&
           Digits(2, seconds);
  }
  bool at_end() const { return text_.empty(); }

 private:
  absl::string_view text_;
};

std::optional<int64_t> ToSeconds(int year, int month, int day, int hours, int minutes,
                                 int seconds) {
  const std::chrono::year_month_day date{std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok() || hours > 23 || minutes > 59 || seconds > 60) return std::nullopt;
  const int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  return ((days * 24 + hours) * 60 + minutes) * 60 + seconds;
}

}  // namespace

std::string FormatDate(int64_t seconds) {
  const std::chrono::sys_seconds time{std::chrono::seconds(seconds)};
  const auto days = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(days);
  const std::chrono::hh_mm_ss clock(time - days);
  const unsigned month = static_cast<unsigned>(date.month());
  return absl::StrFormat("%s, %02d %s %04d %02d:%02d:%02d GMT",
                         kDays[std::chrono::weekday(days).c_encoding()],
                         static_cast<unsigned>(date.day()), kMonths.substr((month - 1) * 3, 3),
                         static_cast<int>(date.year()), clock.hours().count(),
                         clock.minutes().count(), clock.seconds().count());
}

std::optional<int64_t> ParseDate(absl::string_view text) {
  int year = 0;
  int month = 0;
  int day = 0;
  int hours = 0;
  int minutes = 0;
  int seconds = 0;
  // The day of the week says nothing new.
  const size_t comma = text.find(',');
  if (comma == 3) {
    Reader reader(text.substr(4));
    if (!reader.Literal(" ") || !reader.Digits(2, &day) || !reader.Literal(" ") ||
        !reader.Month(&month) || !reader.Literal(" ") || !reader.Digits(4, &year) ||
        !reader.Literal(" ") || !reader.Time(&hours, &minutes, &seconds) ||
        !reader.Literal(" GMT") || !reader.at_end()) {
      return std::nullopt;
    }
  } else if (comma != absl::string_view::npos) {
    Reader reader(text.substr(comma + 1));
    if (!reader.Literal(" ") || !reader.Digits(2, &day) || !reader.Literal("-") ||
        !reader.Month(&month) || !reader.Literal("-") || !reader.Digits(2, &year) ||
        !reader.Literal(" ") || !reader.Time(&hours, &minutes, &seconds) ||
        !reader.Literal(" GMT") || !reader.at_end()) {
      return std::nullopt;
    }
    year += year < 70 ? 2000 : 1900;
  } else {
    Reader reader(text.substr(text.size() < 4 ? text.size() : 4));
    if (!reader.Month(&month) || !reader.Literal(" ")) return std::nullopt;
    const bool short_day = reader.Literal(" ");
    if (!reader.Digits(short_day ? 1 : 2, &day) || !reader.Literal(" ") ||
        !reader.Time(&hours, &minutes, &seconds) || !reader.Literal(" ") ||
        !reader.Digits(4, &year) || !reader.at_end()) {
      return std::nullopt;
    }
  }
  return ToSeconds(year, month, day, hours, minutes, seconds);
}

}  // namespace weft::http
