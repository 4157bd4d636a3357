// SPDX-License-Identifier: Apache-2.0
//
// Datagrams over weft's stack, on every frame transport of this repository and on both families.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "weft/config/config.h"
#include "weft/netstack/netstack_transport.h"
#include "weft/transports/conformance/repository_adapters.h"

namespace weft {
namespace {

using netstack::NetstackTransport;

// Those that are open, so that a test's stacks answer each other while it waits for something else.
std::vector<NetstackTransport*>& OpenTransports() {
  static auto* const open = new std::vector<NetstackTransport*>;
  return *open;
}

class Listed final : public Transport {
 public:
  explicit Listed(std::unique_ptr<NetstackTransport> transport) : transport_(std::move(transport)) {
    OpenTransports().push_back(transport_.get());
  }
  ~Listed() override { std::erase(OpenTransports(), transport_.get()); }

  absl::string_view name() const override { return transport_->name(); }
  const Capabilities& capabilities() const override { return transport_->capabilities(); }
  VirtualTime* virtual_time() override { return transport_->virtual_time(); }
  absl::StatusOr<std::unique_ptr<DatagramPort>> OpenDatagramPort(
      const PortOptions& options) override {
    return transport_->OpenDatagramPort(options);
  }

 private:
  const std::unique_ptr<NetstackTransport> transport_;
};

void PollAll() {
  for (NetstackTransport* transport : OpenTransports()) {
    if (const auto stack = transport->StackOfThisThread()) stack->Poll(nullptr, {});
  }
}

absl::StatusOr<std::unique_ptr<Transport>> OpenOver(std::unique_ptr<Transport> device,
                                                    const std::string& address,
                                                    const ConformanceAdapter&) {
  config::Netstack config;
  config.add_addresses(address);
  auto transport = NetstackTransport::Open(std::move(device), config, /*workers=*/1);
  if (!transport.ok()) return transport.status();
  return std::make_unique<Listed>(*std::move(transport));
}

}  // namespace

std::vector<ConformanceAdapter> AllAdapters() {
  return AdaptersOverFrames(&Capabilities::datagrams, &PollAll, &OpenOver);
}

}  // namespace weft
