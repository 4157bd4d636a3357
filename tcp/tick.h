// SPDX-License-Identifier: Apache-2.0
//
// Tick: a time in 32 bits, for things of which there may be millions. A tick is 16.4 us; times that
// are compared lie less than 9.7 hours apart.
#ifndef WEFT_TCP_TICK_H_
#define WEFT_TCP_TICK_H_

#include <cstdint>

namespace weft::tcp {

// A plain value. Zero is a time like all others, except where a field says that it is none;
// AtLeast() never gives it.
class Tick {
 public:
  static constexpr int kShift = 14;
  static constexpr int64_t kNs = 1 << kShift;

  constexpr Tick() = default;
  explicit constexpr Tick(uint32_t value) : value_(value) {}

  // The last tick that is not after `ns`, for when something was.
  static constexpr Tick AtMost(int64_t ns) { return Tick(static_cast<uint32_t>(ns >> kShift)); }
  // A tick that is not before `ns` and never zero, for when something is due.
  static constexpr Tick AtLeast(int64_t ns) {
    const auto value = static_cast<uint32_t>((ns + kNs - 1) >> kShift);
    return Tick(value == 0 ? 1 : value);
  }

  constexpr uint32_t value() const { return value_; }
  explicit constexpr operator bool() const { return value_ != 0; }

  // The time that it is, as seen from `now_ns`, which is less than 9.7 hours away.
  constexpr int64_t ToNs(int64_t now_ns) const {
    const auto now = static_cast<uint32_t>(now_ns >> kShift);
    const auto ahead = static_cast<int32_t>(value_ - now);
    return ((now_ns >> kShift) + ahead) << kShift;
  }

  // How long ago it was, at `now_ns`: of up to 19.5 hours, of what is older that much less.
  constexpr int64_t AgeNs(int64_t now_ns) const {
    const auto ticks = static_cast<uint32_t>(now_ns >> kShift) - value_;
    return int64_t{ticks} << kShift;
  }

  // How much later `a` is than `b`, in ticks.
  friend constexpr int32_t operator-(Tick a, Tick b) {
    return static_cast<int32_t>(a.value_ - b.value_);
  }
  friend constexpr bool operator==(Tick a, Tick b) { return a.value_ == b.value_; }

 private:
  uint32_t value_ = 0;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_TICK_H_
