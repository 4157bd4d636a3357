// SPDX-License-Identifier: Apache-2.0
//
// What ICMP says about connections (RFC 5461, RFC 5927), and paths that become narrower: as they
// say (RFC 1191, RFC 8201), or, when nobody says anything, as is concluded (RFC 4821, 7.7).
#include <algorithm>
#include <cerrno>

#include "weft/tcp/engine_core.h"

namespace weft::tcp {

using Kind = netstack::IcmpErrorReport::Kind;

namespace {

// A path that was found narrow may be another one by now (RFC 1191, 6.3; RFC 8201, 4).
constexpr int64_t kNsPerMinute = 60'000'000'000;
constexpr int64_t kRaiseMtuMinutes = 10;

// After so many timeouts in a row full segments are taken not to get through. What nearly every
// path takes, tunnels included, is what IPv6 asks of all; then what IPv4 does.
constexpr uint8_t kBlackHoleTimeouts = 3;
constexpr uint8_t kBlackHoleTimeoutsV4 = 5;
constexpr size_t kMtuTried = 1280;
constexpr size_t kMtuTriedV4 = 576;

// As Linux has it; `before` where it is none of the connection.
uint16_t ErrorOf(Kind kind, uint16_t before) {
  switch (kind) {
    case Kind::kHostUnreachable:
    case Kind::kTimeExceeded:
      return EHOSTUNREACH;
    case Kind::kPortUnreachable:
    case Kind::kProtocolUnreachable:
    case Kind::kProhibited:
      return ECONNREFUSED;
    case Kind::kParameterProblem:
      return EPROTO;
    case Kind::kPacketTooBig:
      break;
  }
  return before;
}

}  // namespace

bool EngineCore::OnIcmpError(const netstack::IcmpErrorReport& report, int64_t now_ns) {
  now_ns_ = now_ns;
  const Flow flow = {report.source, report.destination, report.source_port,
                     report.destination_port};
  const uint32_t index = table_.Find(HashOf(flow, table_secret_),
                                     [&](uint32_t i) { return slab_.At(i)->flow == flow; });
  if (index == ConnectionTable::kNone) return false;
  Tcb& tcb = *slab_.At(index);
  ++stats_.icmp_errors;
  // RFC 5927, 4: only about a segment that is in flight.
  if (!InRange(Seq(report.tcp_sequence), tcb.snd_una, tcb.snd_nxt)) {
    ++stats_.icmp_ignored;
    return false;
  }
  reported_ = TcbSlab::IdOf(tcb);
  // An established connection outlives them all: routes come back, and what is hard of them may be
  // forged (RFC 5461, 4; RFC 9293, 3.9.2.2). It remembers the last one, for those who ask, and as
  // the reason if the peer is given up. One that is being begun by a user is told at once.
  tcb.error = ErrorOf(report.kind, tcb.error);
  if (!tcb.is(State::kSynSent)) return true;
  switch (report.kind) {
    case Kind::kPortUnreachable:
    case Kind::kProtocolUnreachable:
    case Kind::kProhibited:
      ++stats_.connect_failures;
      End(tcb, ECONNREFUSED);
      break;
    case Kind::kHostUnreachable:
      ++stats_.connect_failures;
      End(tcb, EHOSTUNREACH);
      break;
    case Kind::kPacketTooBig:
    case Kind::kTimeExceeded:
    case Kind::kParameterProblem:
      break;
  }
  return true;
}

void EngineCore::OnPathMtu(const netstack::IpAddress& remote, size_t mtu, int64_t now_ns) {
  now_ns_ = now_ns;
  Search search;
  search.remote = remote;
  search.path_mtu = static_cast<uint16_t>(std::min<size_t>(mtu, 0xffff));
  // The one that the news is about does not wait for its turn.
  if (Tcb* tcb = slab_.Find(reported_)) Found(search, *tcb);
  Begin(search);
}

void EngineCore::NarrowPath(Tcb& tcb, size_t mtu) {
  ++stats_.path_mtu_changes;
  tcb.path_mtu = static_cast<uint16_t>(std::min<size_t>(mtu, 0xffff));
  const auto raise = static_cast<uint16_t>(now_ns_ / kNsPerMinute + kRaiseMtuMinutes + 1);
  tcb.raise_mtu_min = std::max<uint16_t>(raise, 1);
  const uint16_t before = tcb.mss;
  SetMss(tcb);
  if (tcb.mss >= before || !tcb.synchronized()) return;
  // What is on the way in larger segments does not arrive. It is no sign of congestion, so the
  // window stays (RFC 1191, 6.5).
  tcb.send.MarkAllLost();
  Touch(tcb);
}

// Larger segments are tried again; the news that they do not get through comes as it did before.
void EngineCore::RaiseMtu(Tcb& tcb) {
  if (tcb.raise_mtu_min == 0) return;
  const auto now = static_cast<uint16_t>(now_ns_ / kNsPerMinute);
  if (static_cast<int16_t>(now - tcb.raise_mtu_min) < 0) return;
  tcb.raise_mtu_min = 0;
  const size_t mtu = world_.path_mtu ? world_.path_mtu(tcb.flow.remote) : world_.mtu;
  tcb.path_mtu = static_cast<uint16_t>(std::min<size_t>(mtu, 0xffff));
  SetMss(tcb);
}

// The retransmission timer has fired again.
void EngineCore::SuspectBlackHole(Tcb& tcb) {
  // Of a peer that has taken back the room for it that is no wonder.
  if (tcb.window_edge() < tcb.send.next()) return;
  const uint8_t timeouts = tcb.loss.backoff();
  size_t mtu = 0;
  if (timeouts == kBlackHoleTimeouts) mtu = kMtuTried;
  if (timeouts == kBlackHoleTimeoutsV4 && tcb.flow.remote.is_v4()) mtu = kMtuTriedV4;
  // A segment that would have been let through says nothing about longer ones.
  const size_t kept = MssOf(tcb.flow.remote, mtu) - (tcb.timestamps ? kTimestampBytes : 0);
  if (mtu == 0 || mtu >= tcb.path_mtu || tcb.send.chunk(0).bytes <= kept) return;
  ++stats_.path_mtu_black_holes;
  NarrowPath(tcb, mtu);
}

}  // namespace weft::tcp
