// SPDX-License-Identifier: Apache-2.0
//
// What the parts of a client have in common. Not for users.
#ifndef WEFT_RPC_CLIENT_BASE_H_
#define WEFT_RPC_CLIENT_BASE_H_

#include <array>
#include <memory>
#include <utility>

#include "weft/core/loop.h"
#include "weft/core/metrics.h"
#include "weft/rpc/bulk_way.h"
#include "weft/rpc/gatherer.h"
#include "weft/rpc/options.h"
#include "weft/rpc/packet_queue.h"
#include "weft/rpc/packets.h"
#include "weft/rpc/wire.h"
#include "weft/transports/datagram_port.h"

namespace weft::rpc {

// The first block counts calls in either format, the second what only the extended one has.
struct ClientStats {
  Counter calls;    // begun
  Counter replies;  // calls that ended well
  Counter timeouts;
  Counter drops;       // refused by a server
  Counter failures;    // ended otherwise: cancelled calls do not count
  Counter malformed;   // datagrams that are not R2P2, or contradict what came before
  Counter unexpected;  // well-formed packets for no outstanding call: late, duplicate, or forged
  Counter send_overflows;  // packets given up because their server blocked the port for too long

  Counter cancelled;         // calls whose caller went away
  Counter retransmissions;   // packets sent again
  Counter sessions_opened;   // and opened again
  Counter sessions_lost;     // of those: their server was not heard of, not reachable, or restarted
  Counter sessions_refused;  // their server has too many, or is shutting down
  Counter fallbacks;         // servers taken to speak the original format only
  Counter routed;            // packets to a router that picks the server: requests, CANCELs of them
  Counter members_opened;    // sessions with servers behind a router begun
  Counter bulk_sent;         // requests announced, for the server to fetch
  Counter bulk_received;     // replies fetched
  Counter bulk_failed;       // messages that were announced, and then went in packets

  // Extended format: refused calls, and those whose deadline the server saw pass, by DropReason.
  std::array<Counter, kDropReasonMax + 1> drops_by_reason;
};

struct ClientBase {
  ClientBase(Loop& loop, std::unique_ptr<DatagramPort> port_to_use, const ClientOptions& options)
      : loop(loop),
        port(std::move(port_to_use)),
        options(options),
        bulk(*port),
        sending(port->pool().count(), &stats.send_overflows) {}

  Loop& loop;
  const std::unique_ptr<DatagramPort> port;
  const ClientOptions options;
  ClientStats stats;
  BulkWay bulk;
  PacketQueue sending;
  Gatherers gatherers;
  bool more_to_receive = false;  // perhaps: the last burst was full
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_CLIENT_BASE_H_
