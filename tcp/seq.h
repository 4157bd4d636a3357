// SPDX-License-Identifier: Apache-2.0
//
// Seq: a TCP sequence number. They count modulo 2^32, so order exists only between numbers that are
// less than 2^31 apart (RFC 9293, 3.4; RFC 1982), as all numbers of one window are.
//
//   const Seq next = una + 1448;
//   if (ack > next) Drop();                       // right across the wrap, too
//   const int32_t acknowledged_bytes = ack - una;  // negative if `ack` is older
#ifndef WEFT_TCP_SEQ_H_
#define WEFT_TCP_SEQ_H_

#include <cstdint>

namespace weft::tcp {

// A plain value of 4 bytes.
class Seq {
 public:
  constexpr Seq() = default;
  explicit constexpr Seq(uint32_t value) : value_(value) {}

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

  // How far `a` is ahead of `b`: -2^31 to 2^31 - 1.
  friend constexpr int32_t operator-(Seq a, Seq b) {
    return static_cast<int32_t>(a.value_ - b.value_);
  }

  friend constexpr bool operator==(Seq, Seq) = default;
  friend constexpr bool operator<(Seq a, Seq b) { return a - b < 0; }
  friend constexpr bool operator>(Seq a, Seq b) { return b < a; }
  friend constexpr bool operator<=(Seq a, Seq b) { return !(b < a); }
  friend constexpr bool operator>=(Seq a, Seq b) { return !(a < b); }

 private:
  uint32_t value_ = 0;
};

constexpr Seq Min(Seq a, Seq b) { return b < a ? b : a; }
constexpr Seq Max(Seq a, Seq b) { return a < b ? b : a; }

// Whether begin <= seq < end, for ranges of up to 2^32 - 1.
constexpr bool InRange(Seq seq, Seq begin, Seq end) {
  return seq.value() - begin.value() < end.value() - begin.value();
}

// From `begin` on, without `end`.
struct SeqRange {
  Seq begin;
  Seq end;

  constexpr uint32_t bytes() const { return end.value() - begin.value(); }
  constexpr bool empty() const { return begin == end; }
  friend constexpr bool operator==(const SeqRange&, const SeqRange&) = default;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_SEQ_H_
