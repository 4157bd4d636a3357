// SPDX-License-Identifier: Apache-2.0
#include "weft/host/network.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/netstack/ip_address.h"
#include "weft/transports/decorators/open.h"

namespace weft {

absl::StatusOr<Network> OpenNetwork(const config::Config& config) {
  auto transport = OpenTransport(config.transport());
  if (!transport.ok()) return transport.status();
  if (!config.has_netstack()) return Network{*std::move(transport)};
  // In virtual time all workers are one thread, which has one stack.
  const bool one_thread = (*transport)->virtual_time() != nullptr;
  const int threads = one_thread ? 1 : static_cast<int>(config.host().workers());
  auto stack = netstack::NetstackTransport::Open(*std::move(transport), config.netstack(), threads);
  if (!stack.ok()) return stack.status();
  auto tcp = tcp::TcpTransport::Open(*std::move(stack), config.tcp());
  if (!tcp.ok()) return tcp.status();
  tcp::TcpTransport* const with_tcp = tcp->get();
  return Network{*std::move(tcp), &with_tcp->netstack(), with_tcp};
}

std::string DefaultAddress(const config::Config& config, uint16_t port,
                           absl::string_view shm_name) {
  if (config.has_netstack() && config.netstack().addresses_size() > 0) {
    const auto own = netstack::IpPrefix::Parse(config.netstack().addresses(0));
    if (own.ok()) return own->address.ToAddress(port).ToString();
  }
  if (config.transport().name() == "shm") return absl::StrCat("shm:", shm_name);
  return Address::Ipv4({127, 0, 0, 1}, port).ToString();
}

}  // namespace weft
