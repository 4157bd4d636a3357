// SPDX-License-Identifier: Apache-2.0
//
// SYN cookies: a listener that is flooded keeps nothing of a SYN; the sequence number of its answer
// says what it has to know when, and if, the peer acknowledges it (RFC 4987, 3.6; the layout is
// that of D. J. Bernstein and Linux).
//
//   SYN comes:  seq = MakeSynCookie(secret, flow, peer_isn, peer_mss, now_ns);
//               tsval = CookieTimestamp(now_ts, options);         // where the peer has timestamps
//   ACK comes:  mss = CheckSynCookie(secret, flow, ack - 1, seq - 1, now_ns);
//               options = OptionsOfCookieTimestamp(tsecr);
//
// The cookie holds one of eight sizes of segments, and proves that the peer has received it: a peer
// that guesses has a chance of 1 in 180 million. It is good for two to three minutes, and so it may
// be used more than once: the peer that knows it may open the flow again.
//
// Options lie in the last 6 bits of the timestamp; to a peer without timestamps there is neither
// window scale nor SACK.
#ifndef WEFT_TCP_SYN_COOKIE_H_
#define WEFT_TCP_SYN_COOKIE_H_

#include <cstdint>
#include <optional>

#include "weft/tcp/flow.h"
#include "weft/tcp/secret.h"
#include "weft/tcp/seq.h"

namespace weft::tcp {

// The sequence number to answer a SYN with. `peer_mss`: the peer's option or its default, and no
// more than we want to send: the cookie holds the next lower of its sizes, at least 64.
Seq MakeSynCookie(const Secret& secret, const Flow& flow, Seq peer_isn, uint16_t peer_mss,
                  int64_t now_ns);

// The MSS that `cookie` holds, if this program made it for this flow and sequence number and less
// than three minutes ago.
std::optional<uint16_t> CheckSynCookie(const Secret& secret, const Flow& flow, Seq cookie,
                                       Seq peer_isn, int64_t now_ns);

// What was agreed on in the SYN, and our answer to it.
struct CookieOptions {
  bool has_window_scale = false;
  uint8_t window_scale = 0;  // the peer's; at most kWindowScaleMax
  bool sack_permitted = false;
  bool ecn = false;

  friend bool operator==(const CookieOptions&, const CookieOptions&) = default;
};

// The timestamp to send: `now` with options in its last 6 bits, less than 128 ticks before it.
// Without the offset of the flow (Secret::TimestampOffset), which is added afterwards and taken off
// the peer's echo before it is read.
uint32_t CookieTimestamp(uint32_t now, const CookieOptions& options);
CookieOptions OptionsOfCookieTimestamp(uint32_t echo);

}  // namespace weft::tcp

#endif  // WEFT_TCP_SYN_COOKIE_H_
