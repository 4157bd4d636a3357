// SPDX-License-Identifier: Apache-2.0
//
// One end of a cable of DPDK's, net_virtio_user or net_vhost, with a network stack, TCP and a loop
// on it.

#ifndef WEFT_BENCHMARKS_VIRTIO_END_H_
#define WEFT_BENCHMARKS_VIRTIO_END_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "weft/config/config.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/netstack/netstack_transport.h"
#include "weft/tcp/connections.h"
#include "weft/tcp/tcp_transport.h"
#include "weft/transports/registry.h"

namespace weft::benchmarks {

struct VirtioEnd {
  Loop loop{{.mode = LoopMode::kBusy}, RealClock()};
  std::unique_ptr<tcp::TcpTransport> transport;
  std::unique_ptr<tcp::Connections> connections;

  // `device`: as in "net_vhost0,iface=/tmp/wire".
  absl::Status Open(const std::string& device, const char* ip) {
    config::Transport config;
    config.set_name("dpdk");
    config.mutable_dpdk()->add_virtual_devices(device);
    config.mutable_dpdk()->set_device(device.substr(0, device.find(',')));
    auto frames = OpenPlainTransport(config);
    if (!frames.ok()) return frames.status();
    config::Netstack netstack;
    netstack.add_addresses(absl::StrCat(ip, "/24"));
    auto stack = netstack::NetstackTransport::Open(*std::move(frames), netstack, /*workers=*/1);
    if (!stack.ok()) return stack.status();
    auto opened = tcp::TcpTransport::Open(*std::move(stack), {});
    if (!opened.ok()) return opened.status();
    auto port = (*opened)->OpenStreamPort({});
    if (!port.ok()) return port.status();
    transport = *std::move(opened);
    connections = std::make_unique<tcp::Connections>(loop, *std::move(port));
    return absl::OkStatus();
  }
};

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_VIRTIO_END_H_
