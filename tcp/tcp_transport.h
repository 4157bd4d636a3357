// SPDX-License-Identifier: Apache-2.0
//
// A network stack of weft's own with TCP: datagrams as of netstack/netstack_transport.h, and
// streams.
//
//   auto frames = OpenTransport(config.transport());
//   auto netstack = NetstackTransport::Open(*std::move(frames), config.netstack(), /*workers=*/1);
//   auto transport = TcpTransport::Open(*std::move(netstack), config.tcp());
//   auto port = (*transport)->OpenStreamPort({});
//
// Programs with a weft::Host get it by a `netstack` section in their configuration; `tcp` may say
// more.
//
// Each thread that opens stream ports has one engine, which all of them share. A connection stays
// with the thread that began it, by its port number, or that the device has brought its first
// segment to.
#ifndef WEFT_TCP_TCP_TRANSPORT_H_
#define WEFT_TCP_TCP_TRANSPORT_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "weft/config/config.h"
#include "weft/netstack/netstack_transport.h"
#include "weft/tcp/endpoint.h"
#include "weft/tcp/options.h"
#include "weft/tcp/tcp_stats.h"
#include "weft/transports/transport.h"

namespace weft::tcp {

class TcpTransport final : public Transport {
 public:
  // InvalidArgument for what is wrong with `config`.
  static absl::StatusOr<std::unique_ptr<TcpTransport>> Open(
      std::unique_ptr<netstack::NetstackTransport> netstack, const config::Tcp& config);

  absl::string_view name() const override { return netstack_->name(); }
  const Capabilities& capabilities() const override { return capabilities_; }
  VirtualTime* virtual_time() override { return netstack_->virtual_time(); }

  absl::StatusOr<std::unique_ptr<DatagramPort>> OpenDatagramPort(
      const PortOptions& options) override {
    return netstack_->OpenDatagramPort(options);
  }
  // A port of the calling thread's engine; see TcpPort::Open() for what `options` mean.
  absl::StatusOr<std::unique_ptr<StreamPort>> OpenStreamPort(const PortOptions& options) override;

  netstack::NetstackTransport& netstack() { return *netstack_; }
  // The calling thread's, null where it has no stream port open.
  std::shared_ptr<Endpoint> EndpointOfThisThread();
  // What the calling thread's engine has counted, and those that it had before. Null where there is
  // none now. Any thread may read it for as long as the transport is there.
  const TcpStats* StatsOfThisThread();

 private:
  TcpTransport(std::unique_ptr<netstack::NetstackTransport> netstack, const Options& options,
               uint64_t secret);
  absl::StatusOr<std::shared_ptr<Endpoint>> OpenEndpoint();

  const std::unique_ptr<netstack::NetstackTransport> netstack_;
  const Options options_;
  // Of all workers: what one has sent out as a SYN cookie may come back to another.
  const uint64_t secret_;
  Capabilities capabilities_;
  std::mutex mutex_;
  // Guarded by mutex_: of each of the stack's queues.
  struct OfQueue {
    std::unique_ptr<TcpStats> stats;
    std::weak_ptr<Endpoint> endpoint;
  };
  std::vector<OfQueue> queues_;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_TCP_TRANSPORT_H_
