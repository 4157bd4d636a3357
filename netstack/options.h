// SPDX-License-Identifier: Apache-2.0
//
// What a stack is to be, in its own terms: config::Netstack with its texts read and checked.
#ifndef WEFT_NETSTACK_OPTIONS_H_
#define WEFT_NETSTACK_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "weft/config/config.h"
#include "weft/netstack/ip_address.h"
#include "weft/netstack/neighbor_cache.h"
#include "weft/netstack/reassembler.h"

namespace weft::netstack {

struct StackOptions {
  struct StaticRoute {
    IpPrefix destination;
    IpAddress gateway;
  };

  std::vector<IpPrefix> addresses;
  bool link_local = true;
  std::vector<StaticRoute> routes;
  std::vector<std::pair<IpAddress, MacAddress>> neighbors;
  std::vector<IpAddress> groups;
  size_t mtu = 0;  // 0: the device's
  uint16_t vlan = 0;
  uint8_t ttl = 64;
  size_t datagram_bytes_max = 0;  // 0: what needs no fragments
  bool udp_checksum = true;
  uint16_t ephemeral_port_min = 49152;
  uint16_t ephemeral_port_max = 65535;
  size_t receive_queue_packets = 1024;
  NeighborOptions neighbor_cache;
  ReassemblyOptions reassembly;
  bool echo_reply = true;
  uint32_t icmp_errors_per_s = 1000;
  uint32_t icmp_errors_burst = 50;
  uint32_t echo_replies_per_s = 100000;
  int64_t path_mtu_ns = 0;
  size_t paths_max = 1024;
  std::string exception_tap;
  bool receive_packet_steering = false;

  // InvalidArgument names the field and says what would be right.
  static absl::StatusOr<StackOptions> From(const config::Netstack& config);
};

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_OPTIONS_H_
