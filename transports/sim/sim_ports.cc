// SPDX-License-Identifier: Apache-2.0
//
// Opening and naming of ports: what is not on the data path.

#include "weft/transports/sim/sim_ports.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace weft::sim {

absl::StatusOr<NodeId> NodeAt(Network* network, const Address& address) {
  if (address.kind() == Address::Kind::kSim) return network->AddNode(address.name());
  return absl::InvalidArgumentError(
      absl::StrCat("the simulated network has no ", KindName(address.kind()),
                   " addresses such as '", address.ToString(), "'; give it one like sim:NAME"));
}

absl::StatusOr<Attachment> AttachPort(Network* network, const PortOptions& options, Channel channel,
                                      Receiver* receiver) {
  if (absl::Status status = network->CheckThread(); !status.ok()) return status;
  const absl::StatusOr<NodeId> node = options.local.kind() == Address::Kind::kNone
                                          ? network->AddAnonymousNode()
                                          : NodeAt(network, options.local);
  if (!node.ok()) return node.status();
  return network->Attach(*node, channel, options.queue, options.queues, receiver);
}

absl::StatusOr<std::unique_ptr<SimDatagramPort>> SimDatagramPort::Open(
    Network* network, const PortOptions& options, const Capabilities& capabilities,
    const BufferPoolOptions& buffers, const BulkOptions& bulk) {
  std::unique_ptr<SimDatagramPort> port(new SimDatagramPort(network, capabilities, buffers));
  auto attachment = AttachPort(network, options, Channel::kDatagrams, port.get());
  if (!attachment.ok()) return attachment.status();
  port->attachment_ = *std::move(attachment);
  if (bulk.count > 0) port->bulk_.emplace(network, bulk).Attach(port->attachment_.node());
  return port;
}

Address SimDatagramPort::local_address() const {
  return Address::Sim(network_->NameOf(attachment_.node()));
}

absl::StatusOr<std::unique_ptr<SimFramePort>> SimFramePort::Open(Network* network,
                                                                 const PortOptions& options,
                                                                 const Capabilities& capabilities,
                                                                 const BufferPoolOptions& buffers) {
  std::unique_ptr<SimFramePort> port(new SimFramePort(network, capabilities, buffers));
  auto attachment = AttachPort(network, options, Channel::kFrames, port.get());
  if (!attachment.ok()) return attachment.status();
  port->attachment_ = *std::move(attachment);
  return port;
}

Address SimFramePort::local_address() const {
  return Address::Sim(network_->NameOf(attachment_.node()));
}

}  // namespace weft::sim
