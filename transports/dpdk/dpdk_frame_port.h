// SPDX-License-Identifier: Apache-2.0
//
// A queue pair of an Ethernet device of DPDK. Its buffers are mbufs: nothing is copied between the
// device's rings and the layer above.
#ifndef WEFT_TRANSPORTS_DPDK_DPDK_FRAME_PORT_H_
#define WEFT_TRANSPORTS_DPDK_DPDK_FRAME_PORT_H_

#include <rte_ethdev.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "weft/transports/dpdk/device.h"
#include "weft/transports/frame_port.h"
#include "weft/transports/transport.h"

namespace weft::dpdk {

class DpdkFramePort final : public FramePort {
 public:
  // `device` outlives the port. Errors: those of Device::OpenQueue(); InvalidArgument for an
  // address, as frames have none.
  static absl::StatusOr<std::unique_ptr<DpdkFramePort>> Open(Device* device,
                                                             const PortOptions& options);
  ~DpdkFramePort() override;

  Address local_address() const override { return {}; }
  MacAddress mac() const override { return mac_; }
  bool link_up() const override { return DeviceSignals::IsUp(signals_.link.load()); }
  std::string device_name() const override { return device_->name(); }
  absl::Status SetFilter(absl::Span<const Address> addresses,
                         absl::Span<const MacAddress> groups) override;

  size_t Send(absl::Span<Buffer> burst) override;
  size_t Receive(absl::Span<Buffer> burst) override;

 private:
  DpdkFramePort(Device* device, MbufPool* mbufs, const PortOptions& options);

  // Sending.
  struct Batch;
  enum class Prepared { kReady, kRefused, kBlocked };
  // The prefix that was taken; `blocked` if the rest cannot be now.
  size_t SendBatch(absl::Span<Buffer> burst, bool* blocked);
  Prepared Prepare(Buffer& frame, size_t place, Batch* batch);
  Buffer Copy(const Buffer& frame);

  // Receiving.
  Buffer BufferOf(rte_mbuf* mbuf);
  Buffer CopyOut(rte_mbuf* mbuf);
  Buffer Malformed(rte_mbuf* mbuf);

  // Now and then.
  void NoticeSignals(uint32_t link);
  void Maintain();
  void ReadStats();

  Device* const device_;
  const DeviceSignals& signals_;
  const uint16_t port_id_;
  const uint16_t queue_;
  const rte_mempool* const mempool_;
  const uint64_t send_offloads_;
  const uint16_t honoured_;  // requests of FrameOffload; others are ignored
  const MacAddress mac_;

  uint32_t link_seen_;
  uint32_t calls_ = 0;              // of Receive()
  uint64_t maintain_at_ticks_ = 0;  // of the time stamp counter
  rte_eth_stats stats_seen_ = {};
};

}  // namespace weft::dpdk

#endif  // WEFT_TRANSPORTS_DPDK_DPDK_FRAME_PORT_H_
