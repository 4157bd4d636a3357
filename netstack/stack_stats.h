// SPDX-License-Identifier: Apache-2.0
//
// What a stack has seen; counters beside those of its parts and ports. Any thread may read.
#ifndef WEFT_NETSTACK_STACK_STATS_H_
#define WEFT_NETSTACK_STACK_STATS_H_

#include "weft/core/metrics.h"

namespace weft::netstack {

struct StackStats {
  Counter received;         // frames
  Counter malformed;        // headers that lie or are cut short
  Counter bad_checksum;     // of IPv4, ICMP, UDP, TCP
  Counter not_for_us;       // another's MAC or IP address, another VLAN, a protocol nobody speaks
  Counter bad_source;       // a source that no honest sender has: a group, loopback, ourselves
  Counter no_port;          // UDP for a port where nobody listens
  Counter queue_full;       // datagrams for a port whose owner does not poll it
  Counter echo_requests;    // answered or not
  Counter errors_received;  // ICMP
  Counter errors_ignored;   // of those, about nothing that we sent of late
  Counter errors_sent;
  Counter errors_limited;      // not sent, as there were too many
  Counter address_conflicts;   // ARP and neighbour discovery from another who has our address
  Counter no_route;            // packets to where no route leads
  Counter hops_exceeded;       // datagrams that were not sent on: their hop limit is used up
  Counter fragmented;          // packets sent in fragments
  Counter send_dropped;        // packets of the stack's own that the device did not take
  Counter segments_received;   // of TCP, good ones, given to the handler
  Counter segments_stray;      // of those, for no connection and no listener of any worker
  Counter segments_sent;       // taken from the handler
  Counter segments_blocked;    // times that some were not taken, as there was no room
  Counter segments_cut;        // of those sent, cut into several in software
  Counter handed_over;         // to the worker whose they were
  Counter hand_over_full;      // of those, dropped as that worker is too slow
  Counter exception_received;  // frames handed to the exception path
  Counter exception_sent;      // frames taken from it
  Counter exception_dropped;
};

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_STACK_STATS_H_
