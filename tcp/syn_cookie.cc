// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/syn_cookie.h"

#include <algorithm>
#include <iterator>

#include "weft/tcp/segment_options.h"

namespace weft::tcp {
namespace {

constexpr int64_t kMinuteNs = 60'000'000'000;
// Of the minute that a cookie was made in; the sum of the other fields may not touch it.
constexpr uint32_t kMinuteShift = 24;
constexpr uint32_t kLowMask = (1u << kMinuteShift) - 1;
constexpr uint32_t kMinutesMax = 3;

// IPv4's default, tunnels, DSL, Ethernet over IPv6 and IPv4, and the same for frames of 9000 bytes.
// The first is for peers that want less than anybody needs.
constexpr uint16_t kSizes[] = {64, 536, 1220, 1300, 1400, 1440, 1460, 8940};

// Of the timestamp: scale (15: none), SACK, ECN.
constexpr uint32_t kOptionBits = 6;
constexpr uint32_t kOptionMask = (1u << kOptionBits) - 1;
constexpr uint32_t kScaleMask = 0xf;
constexpr uint32_t kSackBit = 1u << 4;
constexpr uint32_t kEcnBit = 1u << 5;

uint32_t MinuteOf(int64_t now_ns) { return static_cast<uint32_t>(now_ns / kMinuteNs); }

uint32_t Base(const Secret& secret, const Flow& flow, Seq peer_isn) {
  return static_cast<uint32_t>(secret.Hash(Secret::Purpose::kCookie, flow)) + peer_isn.value();
}

// The peer's sequence number is hashed too: otherwise any segment would do that is as far behind it
// as what it acknowledges is behind the cookie, as the last ones of a connection that has echoed
// are, and they would open it again.
uint32_t OfMinute(const Secret& secret, const Flow& flow, Seq peer_isn, uint32_t minute) {
  return static_cast<uint32_t>(secret.Hash(Secret::Purpose::kCookieOfMinute, flow,
                                           uint64_t{minute} << 32 | peer_isn.value()));
}

}  // namespace

Seq MakeSynCookie(const Secret& secret, const Flow& flow, Seq peer_isn, uint16_t peer_mss,
                  int64_t now_ns) {
  const auto above = std::upper_bound(std::begin(kSizes) + 1, std::end(kSizes), peer_mss);
  const auto index = static_cast<uint32_t>(above - std::begin(kSizes) - 1);
  const uint32_t minute = MinuteOf(now_ns);
  return Seq(Base(secret, flow, peer_isn) + (minute << kMinuteShift) +
             ((OfMinute(secret, flow, peer_isn, minute) + index) & kLowMask));
}

std::optional<uint16_t> CheckSynCookie(const Secret& secret, const Flow& flow, Seq cookie,
                                       Seq peer_isn, int64_t now_ns) {
  const uint32_t value = cookie.value() - Base(secret, flow, peer_isn);
  const uint32_t now_minute = MinuteOf(now_ns);
  const uint32_t age = (now_minute - (value >> kMinuteShift)) & 0xff;
  if (age >= kMinutesMax) return std::nullopt;
  const uint32_t index = (value - OfMinute(secret, flow, peer_isn, now_minute - age)) & kLowMask;
  if (index >= std::size(kSizes)) return std::nullopt;
  return kSizes[index];
}

uint32_t CookieTimestamp(uint32_t now, const CookieOptions& options) {
  uint32_t bits =
      options.has_window_scale ? std::min(options.window_scale, kWindowScaleMax) : kScaleMask;
  if (options.sack_permitted) bits |= kSackBit;
  if (options.ecn) bits |= kEcnBit;
  const uint32_t timestamp = (now & ~kOptionMask) | bits;
  // Never ahead of the clock: the next segment's would be older (RFC 7323, 5.3).
  return static_cast<int32_t>(timestamp - now) > 0 ? timestamp - (1u << kOptionBits) : timestamp;
}

CookieOptions OptionsOfCookieTimestamp(uint32_t echo) {
  const uint32_t scale = echo & kScaleMask;
  CookieOptions options;
  options.has_window_scale = scale <= kWindowScaleMax;
  if (options.has_window_scale) options.window_scale = static_cast<uint8_t>(scale);
  options.sack_permitted = (echo & kSackBit) != 0;
  options.ecn = (echo & kEcnBit) != 0;
  return options;
}

}  // namespace weft::tcp
