// SPDX-License-Identifier: Apache-2.0
//
// Streams over weft's TCP, on every frame transport of this repository and on both families.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
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

// TCP over the ends of `frames`, each with addresses of its own.
ConformanceAdapter Over(const ConformanceAdapter& frames, bool v4) {
  ConformanceAdapter adapter;
  adapter.name = absl::StrCat(frames.name, v4 ? "_ipv4" : "_ipv6");
  adapter.contracts = {&Capabilities::streams};
  adapter.address_kinds = {Address::Kind::kIpv4, Address::Kind::kIpv6};
  adapter.decorated = frames.decorated;
  adapter.prepare = frames.prepare;
  adapter.work = &PollAll;
  adapter.buffers_held = frames.buffers_held;
  // The ports of a simulated network are ends of it.
  const size_t ends = frames.ends.size() == 1 ? 3 : frames.ends.size();
  for (size_t n = 0; n < ends; ++n) {
    const std::string ipv4 = absl::StrCat("10.77.0.", n + 1);
    const std::string ipv6 = absl::StrCat("fd77::", n + 1);
    ConformanceEnd end;
    end.open = [open = frames.ends[n % frames.ends.size()].open, ipv4, ipv6, v4,
                keep = frames.back_to_back](
                   const config::Buffers& buffers) -> absl::StatusOr<std::unique_ptr<Transport>> {
      auto device = open(buffers);
      if (!device.ok()) return device.status();
      config::Netstack config;
      config.add_addresses(v4 ? ipv4 + "/24" : ipv6 + "/64");
      auto netstack = NetstackTransport::Open(*std::move(device), config, /*workers=*/1);
      if (!netstack.ok()) return netstack.status();
      auto transport = TcpTransport::Open(*std::move(netstack), config::Tcp());
      if (!transport.ok()) return transport.status();
      return std::make_unique<Listed>(*std::move(transport), keep);
    };
    end.local = {v4 ? Address::Ipv4({10, 77, 0, static_cast<uint8_t>(n + 1)}, 0)
                    : *Address::Parse(absl::StrCat("[", ipv6, "]:0"))};
    adapter.ends.push_back(std::move(end));
  }
  return adapter;
}

}  // namespace

std::vector<ConformanceAdapter> AllAdapters() {
  std::vector<ConformanceAdapter> adapters;
  for (const ConformanceAdapter& frames : RepositoryAdapters()) {
    for (const auto contract : frames.contracts) {
      if (contract != &Capabilities::frames) continue;
      adapters.push_back(Over(frames, /*v4=*/true));
      adapters.push_back(Over(frames, /*v4=*/false));
    }
  }
  return adapters;
}

}  // namespace weft
