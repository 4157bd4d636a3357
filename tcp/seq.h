// SPDX-License-Identifier: Apache-2.0
//
// Seq: a sequence number, whose arithmetic is modulo 2^32 (RFC 9293, 3.4).
//
//   Seq next = segment_begin + payload_bytes;
//   if (next > receive_next) ...              // also where they have wrapped around
//   uint32_t missing = next - receive_next;   // of which the first is known to be the later one
//
// Comparisons hold for numbers that are less than 2^31 apart, as all of one window are; sorting
// others by them makes no sense.
#ifndef WEFT_TCP_SEQ_H_
#define WEFT_TCP_SEQ_H_

#include <cstdint>

namespace weft::tcp {

class Seq {
 public:
  constexpr Seq() = default;
  constexpr explicit Seq(uint32_t value) : value_(value) {}

  constexpr uint32_t value() const { return value_; }

  constexpr Seq& operator+=(uint32_t n) {
    value_ += n;
    return *this;
  }
  constexpr Seq& operator-=(uint32_t n) {
    value_ -= n;
    return *this;
  }
  friend constexpr Seq operator+(Seq seq, uint32_t n) { return Seq(seq.value_ + n); }
  friend constexpr Seq operator-(Seq seq, uint32_t n) { return Seq(seq.value_ - n); }

  // How many numbers lie from `begin` up to `end`. See Distance() where it may be negative.
  friend constexpr uint32_t operator-(Seq end, Seq begin) { return end.value_ - begin.value_; }

  friend constexpr bool operator==(Seq, Seq) = default;
  friend constexpr bool operator<(Seq a, Seq b) { return Distance(b, a) < 0; }
  friend constexpr bool operator>(Seq a, Seq b) { return Distance(b, a) > 0; }
  friend constexpr bool operator<=(Seq a, Seq b) { return Distance(b, a) <= 0; }
  friend constexpr bool operator>=(Seq a, Seq b) { return Distance(b, a) >= 0; }

  // From `from` to `to`: negative where `to` is the earlier one.
  static constexpr int32_t Distance(Seq from, Seq to) {
    return static_cast<int32_t>(to.value_ - from.value_);
  }

 private:
  uint32_t value_ = 0;
};

constexpr Seq Later(Seq a, Seq b) { return a > b ? a : b; }
constexpr Seq Earlier(Seq a, Seq b) { return a < b ? a : b; }

// Whether `seq` is one of the `bytes` numbers from `begin` on; right for any of them, up to 2^32 - 1
// numbers.
constexpr bool IsWithin(Seq seq, Seq begin, uint32_t bytes) { return seq - begin < bytes; }

// From `begin` on, without `end`.
struct SeqRange {
  Seq begin;
  Seq end;

  constexpr uint32_t bytes() const { return end - begin; }
  constexpr bool empty() const { return begin == end; }
  friend constexpr bool operator==(const SeqRange&, const SeqRange&) = default;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_SEQ_H_
