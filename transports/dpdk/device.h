// SPDX-License-Identifier: Apache-2.0
//
// One Ethernet device of DPDK and what is needed to make it: plugged in when a transport is opened,
// configured and started by the first port, unplugged after the last one, plugged in again by the
// next. Of net_vhost, other processes hold the other end: it stays plugged in.
#ifndef WEFT_TRANSPORTS_DPDK_DEVICE_H_
#define WEFT_TRANSPORTS_DPDK_DEVICE_H_

#include <rte_ethdev.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/config/config.h"
#include "weft/transports/capabilities.h"
#include "weft/transports/dpdk/mbuf_pool.h"
#include "weft/transports/frame_port.h"

namespace weft::dpdk {

// What a device tells all its ports, from DPDK's interrupt thread as a rule. On a cache line that
// is rarely written.
struct alignas(128) DeviceSignals {
  // Counts changes of the link; odd while it is up. Changes with `removed` too.
  std::atomic<uint32_t> link{0};
  std::atomic<bool> removed{false};

  static bool IsUp(uint32_t link) { return (link & 1) != 0; }
  void SetLink(bool up);
  void SetRemoved();
};

// Threads: any, one at a time as ControlMutex() sees to; the accessors' values change only while no
// port is open.
class Device {
 public:
  // Starts EAL if need be and plugs the device in. Errors: those of StartEal(); NotFound for a
  // device that is not there, AlreadyExists for one in use, PermissionDenied, FailedPrecondition
  // for one that the kernel has.
  static absl::StatusOr<std::unique_ptr<Device>> Open(const config::Transport& config);
  ~Device();

  const std::string& name() const { return name_; }
  const Capabilities& capabilities() const { return capabilities_; }
  uint16_t port_id() const { return port_id_; }
  uint64_t send_offloads() const { return send_offloads_; }  // RTE_ETH_TX_OFFLOAD_*, that are on
  const DeviceSignals& signals() const { return *signals_; }
  MacAddress mac() const;
  // Looks at the link; for now and then, as not all devices tell of its changes. Any thread.
  void PollLink();

  // Queue `queue` of `queues`, for the calling thread. The first starts the device.
  absl::StatusOr<MbufPool*> OpenQueue(int queue, int queues);
  // Gives back what OpenQueue() gave, with its buffers. The last one unplugs the device.
  void CloseQueue(int queue, BufferPool buffers);

  // The groups that the port of this queue wants; the device receives those that any port wants.
  absl::Status SetGroups(int queue, absl::Span<const MacAddress> groups);

 private:
  struct Queue {
    MbufPool pool;
    bool open = false;
    bool chose_groups = false;
    std::vector<MacAddress> groups;
  };

  explicit Device(const config::Transport& config);
  absl::Status ChooseDevice();
  absl::Status PlugIn();
  absl::Status FindPort();
  absl::Status ReadInfo();
  void Unplug();
  bool IsVhost() const;

  absl::Status Start(int queues);
  absl::Status Configure(uint16_t queues);
  absl::Status SetUpQueues();
  void SetModes();
  void Stop();
  // Makes the device receive the groups that the open queues want.
  void ApplyGroups();

  std::string Because(absl::string_view what) const;

  const config::Dpdk config_;
  const config::Buffers buffers_;
  std::vector<std::string> pci_devices_;  // that EAL may touch
  std::string name_;                      // of the device

  std::vector<std::string> plugged_;  // buses and names, in turn, as they were plugged in
  uint16_t port_id_ = RTE_MAX_ETHPORTS;
  rte_eth_dev_info info_ = {};
  uint16_t mtu_ = 0;
  size_t buffer_bytes_ = 0;
  uint64_t send_offloads_ = 0;
  uint64_t receive_offloads_ = 0;
  Capabilities capabilities_;
  const std::unique_ptr<DeviceSignals> signals_ = std::make_unique<DeviceSignals>();

  std::vector<Queue> queues_;  // empty while the device is stopped
};

}  // namespace weft::dpdk

#endif  // WEFT_TRANSPORTS_DPDK_DEVICE_H_
