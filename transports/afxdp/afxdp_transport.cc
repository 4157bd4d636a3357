// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/afxdp/afxdp_transport.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/transports/registry.h"

namespace weft::afxdp {
namespace {

Capabilities Offered(size_t max_frame_bytes) {
  Capabilities offered;
  offered.frames = true;
  offered.max_frame_bytes = max_frame_bytes;
  offered.max_burst = 64;
  offered.can_wait = true;
  return offered;
}

const TransportRegistrar registrar(TransportPlugin{
    .name = "afxdp",
    .summary = "frames through AF_XDP sockets, on an interface that the kernel goes on using",
    .address_kinds = {Address::Kind::kIpv4, Address::Kind::kIpv6},
    .capabilities = Offered(9014),
    .probe = &CheckPermissions,
    .open = &AfxdpTransport::Open,
});

}  // namespace

absl::StatusOr<std::unique_ptr<Transport>> AfxdpTransport::Open(const config::Transport& config) {
  if (config.afxdp().interface().empty()) {
    return absl::InvalidArgumentError(
        "transport 'afxdp' needs an interface: afxdp { interface: \"eth0\" }");
  }
  absl::StatusOr<FilterConfig> filter = ParseFilter(config.afxdp());
  if (!filter.ok()) return filter.status();
  absl::StatusOr<Interface> interface = FindInterface(config.afxdp().interface());
  if (!interface.ok()) return interface.status();
  absl::StatusOr<FrameLayout> layout =
      FrameLayout::For(*interface, config::EthernetBytes(config.buffers()));
  if (!layout.ok()) return layout.status();
  return std::unique_ptr<Transport>(
      new AfxdpTransport(config, *std::move(interface), *layout, *std::move(filter)));
}

AfxdpTransport::AfxdpTransport(const config::Transport& config, Interface interface,
                               FrameLayout layout, FilterConfig filter)
    : config_(config.afxdp()),
      buffers_(config::PinnedCount(config.buffers())),
      interface_(std::move(interface)),
      layout_(layout),
      filter_(std::move(filter)),
      capabilities_(Offered(layout.max_frame_bytes)) {}

absl::Status AfxdpTransport::CheckOptions(const PortOptions& options) const {
  if (options.queues < 1 || options.queue < 0 || options.queue >= options.queues) {
    return absl::InvalidArgumentError(
        absl::StrCat("queue ", options.queue, " of ", options.queues, " does not exist"));
  }
  if (options.local.kind() != Address::Kind::kNone && !options.local.is_ip()) {
    return absl::InvalidArgumentError(
        absl::StrCat("an interface has no address like ", options.local.ToString()));
  }
  const uint64_t last = uint64_t{config_.first_queue()} + static_cast<uint64_t>(options.queues) - 1;
  if (interface_.queues != 0 && last >= interface_.queues) {
    return absl::InvalidArgumentError(absl::StrCat(
        "interface '", interface_.name, "' has ", interface_.queues, " queue",
        interface_.queues == 1 ? "" : "s", ", and queue ", last,
        " is asked for (afxdp.first_queue, and one queue a worker): lower host.workers, or add "
        "queues with `ethtool -L`"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<FramePort>> AfxdpTransport::OpenFramePort(
    const PortOptions& options) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  const uint32_t first = config_.first_queue();
  absl::StatusOr<ProgramUser> program = program_.Use(
      {.interface = interface_,
       .mode = config_.mode(),
       .queues = std::max(interface_.queues, first + static_cast<uint32_t>(options.queues)),
       .multi_buffer = layout_.multi_buffer,
       .filter = filter_});
  if (!program.ok()) return program.status();
  return AfxdpFramePort::Open({.config = &config_,
                               .interface = &interface_,
                               .queue = first + static_cast<uint32_t>(options.queue),
                               .layout = layout_,
                               .buffers = buffers_,
                               .capabilities = capabilities_},
                              *std::move(program));
}

}  // namespace weft::afxdp
