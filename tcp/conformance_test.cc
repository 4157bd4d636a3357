// SPDX-License-Identifier: Apache-2.0
//
// Streams over weft's TCP, on every frame transport of this repository and on both families.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "weft/config/config.h"
#include "weft/netstack/netstack_transport.h"
#include "weft/tcp/tcp_transport.h"
#include "weft/transports/conformance/repository_adapters.h"

namespace weft {
namespace {

using netstack::NetstackTransport;
using tcp::TcpTransport;

// Those that are open, so that a test's stacks answer each other while it waits for something else.
std::vector<TcpTransport*>& OpenTransports() {
  static auto* const open = new std::vector<TcpTransport*>;
  return *open;
}

class Listed final : public Transport {
 public:
  // `keep`: its stack stays when its ports go, as the device would take the cable along, and what
  // the peer is to be told with it.
  Listed(std::unique_ptr<TcpTransport> transport, bool keep)
      : transport_(std::move(transport)), keep_(keep) {
    OpenTransports().push_back(transport_.get());
  }
  ~Listed() override { std::erase(OpenTransports(), transport_.get()); }

  absl::string_view name() const override { return transport_->name(); }
  const Capabilities& capabilities() const override { return transport_->capabilities(); }
  VirtualTime* virtual_time() override { return transport_->virtual_time(); }
  absl::StatusOr<std::unique_ptr<StreamPort>> OpenStreamPort(const PortOptions& options) override {
    auto port = transport_->OpenStreamPort(options);
    if (keep_) stack_ = transport_->netstack().StackOfThisThread();
    return port;
  }

 private:
  const std::unique_ptr<TcpTransport> transport_;
  const bool keep_;
  std::shared_ptr<netstack::Stack> stack_;
};

void PollAll() {
  for (TcpTransport* transport : OpenTransports()) {
    if (const auto endpoint = transport->EndpointOfThisThread()) endpoint->Poll();
  }
}

absl::StatusOr<std::unique_ptr<Transport>> OpenOver(std::unique_ptr<Transport> device,
                                                    const std::string& address,
                                                    const ConformanceAdapter& frames) {
  config::Netstack config;
  config.add_addresses(address);
  auto netstack = NetstackTransport::Open(std::move(device), config, /*workers=*/1);
  if (!netstack.ok()) return netstack.status();
  auto transport = TcpTransport::Open(*std::move(netstack), config::Tcp());
  if (!transport.ok()) return transport.status();
  return std::make_unique<Listed>(*std::move(transport), frames.back_to_back);
}

}  // namespace

std::vector<ConformanceAdapter> AllAdapters() {
  return AdaptersOverFrames(&Capabilities::streams, &PollAll, &OpenOver);
}

}  // namespace weft
