// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/script/words.h"

#include <cmath>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace weft::tcp::script {
namespace {

constexpr absl::string_view kMarks = ",<>():=";

// What is left of the line once a comment is gone.
absl::string_view WithoutComment(absl::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '#' && (i == 0 || absl::ascii_isspace(text[i - 1]))) return text.substr(0, i);
  }
  return text;
}

}  // namespace

absl::string_view ToText(Comparison comparison) {
  static constexpr absl::string_view kTexts[] = {"=", "<", "<=", ">", ">="};
  return kTexts[static_cast<size_t>(comparison)];
}

bool Holds(int64_t left, Comparison comparison, int64_t right) {
  switch (comparison) {
    case Comparison::kEqual:
      return left == right;
    case Comparison::kLess:
      return left < right;
    case Comparison::kAtMost:
      return left <= right;
    case Comparison::kMore:
      return left > right;
    case Comparison::kAtLeast:
      return left >= right;
  }
  return false;
}

Words::Words(absl::string_view script, int line, absl::string_view text)
    : script_(script), line_(line), text_(WithoutComment(text)) {
  Find();
}

void Words::Find() {
  while (next_ < text_.size() && absl::ascii_isspace(text_[next_])) ++next_;
  word_begin_ = next_;
  while (next_ < text_.size() && !absl::ascii_isspace(text_[next_]) &&
         kMarks.find(text_[next_]) == absl::string_view::npos) {
    ++next_;
  }
  if (next_ == word_begin_ && next_ < text_.size()) {
    ++next_;
    const bool compares = text_[word_begin_] == '<' || text_[word_begin_] == '>';
    if (compares && next_ < text_.size() && text_[next_] == '=') ++next_;
  }
  word_ = text_.substr(word_begin_, next_ - word_begin_);
}

absl::string_view Words::Next() {
  const absl::string_view word = word_;
  before_begin_ = word_begin_;
  Find();
  return word;
}

bool Words::Take(absl::string_view word) {
  if (word_ != word || word.empty()) return false;
  Next();
  return true;
}

std::optional<int64_t> Words::TakeNumber() {
  int64_t number = 0;
  const bool hex = word_.size() > 2 && word_.substr(0, 2) == "0x";
  if (hex ? !absl::SimpleHexAtoi(word_, &number) : !absl::SimpleAtoi(word_, &number)) {
    return std::nullopt;
  }
  Next();
  return number;
}

std::optional<int64_t> Words::TakeSeconds() {
  constexpr double kNsPerS = 1e9, kSecondsMax = 1e9;
  double seconds = 0;
  if (!absl::SimpleAtod(word_, &seconds) || !(seconds >= 0 && seconds <= kSecondsMax)) {
    return std::nullopt;
  }
  Next();
  return std::llround(seconds * kNsPerS);
}

std::optional<Comparison> Words::TakeComparison() {
  for (const Comparison comparison : {Comparison::kEqual, Comparison::kLess, Comparison::kAtMost,
                                      Comparison::kMore, Comparison::kAtLeast}) {
    if (Take(ToText(comparison))) return comparison;
  }
  return std::nullopt;
}

absl::string_view Words::Rest() {
  const absl::string_view rest = absl::StripAsciiWhitespace(text_.substr(word_begin_));
  before_begin_ = word_begin_;
  next_ = text_.size();
  word_begin_ = next_;
  word_ = absl::string_view();
  return rest;
}

absl::Status Words::WrongAt(size_t place, absl::string_view what) const {
  return absl::InvalidArgumentError(absl::StrCat(script_, ":", line_, ":", place + 1, ": ", what));
}

}  // namespace weft::tcp::script
