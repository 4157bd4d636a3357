// SPDX-License-Identifier: Apache-2.0
//
// What ICMP says about connections (RFC 5461, RFC 5927), and paths that become narrower (RFC 1191,
// RFC 8201).
#include <algorithm>
#include <cerrno>

#include "weft/tcp/engine_core.h"

namespace weft::tcp {

using Kind = netstack::IcmpErrorReport::Kind;

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
  // forged (RFC 5461, 4; RFC 9293, 3.9.2.2). One that is being begun by a user is told at once.
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

void EngineCore::NarrowPath(Tcb& tcb, uint16_t path_mtu) {
  tcb.path_mtu = path_mtu;
  ++stats_.path_mtu_changes;
  const uint16_t before = tcb.mss;
  SetMss(tcb);
  if (tcb.mss >= before || !tcb.synchronized()) return;
  // What is on the way in larger segments does not arrive. It is no sign of congestion, so the
  // window stays (RFC 1191, 6.5).
  tcb.send.MarkAllLost();
  Touch(tcb);
}

}  // namespace weft::tcp
