// SPDX-License-Identifier: Apache-2.0
//
// "rdma": datagrams, long messages and remote memory over InfiniBand verbs. README.md says what it
// needs and promises.
//
// Programs get it by name. Tests put it together from a simulated world:
//
//   sim::Network network(/*seed=*/7);
//   std::unique_ptr<SimNic> nic = *SimNic::Open(&network, Address::Sim("host"));
//   auto transport = RdmaTransport::Over(SimWorld(&network, nic.get()), config);   // sim_world.h
#ifndef WEFT_TRANSPORTS_RDMA_RDMA_TRANSPORT_H_
#define WEFT_TRANSPORTS_RDMA_RDMA_TRANSPORT_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "weft/config/config.h"
#include "weft/core/clock.h"
#include "weft/transports/rdma/nic.h"
#include "weft/transports/rdma/rdma_datagram_port.h"
#include "weft/transports/transport.h"

namespace weft::rdma {

// What the transport stands on.
struct RdmaWorld {
  // The least of all devices that ports may be opened on.
  size_t path_mtu_bytes = 0;
  bool memory_windows = false;
  bool is_software = false;
  bool atomic_with_processor = false;
  std::vector<Address::Kind> address_kinds;
  // Where a port is opened that has no address, or one without an IP address, in full.
  std::function<absl::StatusOr<Address>(const Address& wanted)> choose_address;
  std::function<absl::StatusOr<std::shared_ptr<Nic>>(const Address& local)> open_nic;
  std::function<absl::StatusOr<std::unique_ptr<DatagramPort>>(const PortOptions&)> open_rendezvous;
  std::function<uint64_t()> random;  // for incarnations
  const Clock* clock = nullptr;
  VirtualTime* time = nullptr;  // null for real time
};

// How much memory the buffers of a datagram port take, all of which a device has locked.
size_t LockedBytesOfPort(const config::Transport& config, size_t path_mtu_bytes);

class RdmaTransport final : public Transport {
 public:
  static constexpr int kMaxQueues = 128;

  // Over the devices of this machine. Errors as of ChoosePort() in device.h.
  static absl::StatusOr<std::unique_ptr<Transport>> Open(const config::Transport& config);
  static std::unique_ptr<RdmaTransport> Over(RdmaWorld world, const config::Transport& config);

  absl::string_view name() const override { return "rdma"; }
  const Capabilities& capabilities() const override { return capabilities_; }
  VirtualTime* virtual_time() override { return world_.time; }
  absl::StatusOr<std::unique_ptr<DatagramPort>> OpenDatagramPort(
      const PortOptions& options) override;
  absl::StatusOr<std::unique_ptr<RemoteMemory>> OpenRemoteMemory(
      const PortOptions& options) override;

 private:
  RdmaTransport(RdmaWorld world, const config::Transport& config);
  absl::Status Check(const PortOptions& options) const;

  const RdmaWorld world_;
  const config::Rdma settings_;
  const BufferPoolOptions buffers_;
  Capabilities capabilities_;
};

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_RDMA_TRANSPORT_H_
