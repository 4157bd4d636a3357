// SPDX-License-Identifier: Apache-2.0
//
// Words: a line of a script, read word by word, with errors that say where.
//
//   Words words("3.tcp", 7, "expect_state CLOSED");
//   if (words.Take("expect_state")) ... words.Next() ...
//   return words.Wrong("there is no such state");   // "3.tcp:7:14: there is no such state"
#ifndef WEFT_TCP_SCRIPT_WORDS_H_
#define WEFT_TCP_SCRIPT_WORDS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace weft::tcp::script {

enum class Comparison : uint8_t { kEqual, kLess, kAtMost, kMore, kAtLeast };

// "=", "<", "<=", ">", ">=".
absl::string_view ToText(Comparison comparison);
bool Holds(int64_t left, Comparison comparison, int64_t right);

// A word ends at white space and at any of  , < > ( ) : =  which are words by themselves, as are
// "<=" and ">=". What follows " #" is a comment.
class Words {
 public:
  // All outlive this.
  Words(absl::string_view script, int line, absl::string_view text);

  bool done() const { return word_.empty(); }
  // The next word, and past it; empty at the end.
  absl::string_view Next();
  absl::string_view Peek() const { return word_; }
  // Past the next word if it is that one.
  bool Take(absl::string_view word);
  // Past the next word if it is a number: decimal, with a sign, or hexadecimal after 0x.
  std::optional<int64_t> TakeNumber();
  // A number of seconds with a fraction, in nanoseconds.
  std::optional<int64_t> TakeSeconds();
  std::optional<Comparison> TakeComparison();
  // All that is left of the line, but for a comment.
  absl::string_view Rest();

  // What is wrong, with the place of the next word, or of the one before it.
  absl::Status Wrong(absl::string_view what) const { return WrongAt(word_begin_, what); }
  absl::Status WrongBefore(absl::string_view what) const { return WrongAt(before_begin_, what); }
  int line() const { return line_; }

 private:
  void Find();
  absl::Status WrongAt(size_t place, absl::string_view what) const;

  absl::string_view script_;
  int line_;
  absl::string_view text_;
  absl::string_view word_;
  size_t word_begin_ = 0;
  size_t before_begin_ = 0;
  size_t next_ = 0;  // where to look for the word behind `word_`
};

}  // namespace weft::tcp::script

#endif  // WEFT_TCP_SCRIPT_WORDS_H_
