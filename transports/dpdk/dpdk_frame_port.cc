// SPDX-License-Identifier: Apache-2.0
//
// Opening and closing a port, and what it does now and then.
#include "weft/transports/dpdk/dpdk_frame_port.h"

#include <rte_cycles.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/transports/dpdk/mbuf_pool.h"
#include "weft/transports/dpdk/offload.h"

namespace weft::dpdk {
namespace {

// Statistics are looked at so often, and the link, of which some devices do not tell.
constexpr uint64_t kMaintainPerSecond = 10;

}  // namespace

absl::StatusOr<std::unique_ptr<DpdkFramePort>> DpdkFramePort::Open(Device* device,
                                                                   const PortOptions& options) {
  if (options.local.kind() != Address::Kind::kNone) {
    return absl::InvalidArgumentError(absl::StrCat(
        "ports of transport 'dpdk' have no address, and ", options.local.ToString(), " is one"));
  }
  absl::StatusOr<MbufPool*> mbufs = device->OpenQueue(options.queue, options.queues);
  if (!mbufs.ok()) return mbufs.status();
  return std::unique_ptr<DpdkFramePort>(new DpdkFramePort(device, *mbufs, options));
}

DpdkFramePort::DpdkFramePort(Device* device, MbufPool* mbufs, const PortOptions& options)
    : FramePort(device->capabilities(), mbufs->Take()),
      device_(device),
      signals_(device->signals()),
      port_id_(device->port_id()),
      queue_(static_cast<uint16_t>(options.queue)),
      mempool_(mbufs->mempool()),
      send_offloads_(device->send_offloads()),
      honoured_(HonouredRequests(device->capabilities())),
      mac_(device->mac()),
      link_seen_(signals_.link.load(std::memory_order_acquire)) {
  mbufs->Lend(&pool_);
  pool_.BindToThisThread();
  if (queue_ == 0) rte_eth_stats_get(port_id_, &stats_seen_);
}

DpdkFramePort::~DpdkFramePort() { device_->CloseQueue(queue_, std::move(pool_)); }

absl::Status DpdkFramePort::SetFilter(absl::Span<const Address>,
                                      absl::Span<const MacAddress> groups) {
  AssertOwner();
  return device_->SetGroups(queue_, groups);
}

void DpdkFramePort::NoticeSignals(uint32_t link) {
  const bool was_up = DeviceSignals::IsUp(link_seen_);
  const bool is_up = DeviceSignals::IsUp(link);
  link_seen_ = link;
  if (signals_.removed.load(std::memory_order_acquire)) {
    status_ = absl::UnavailableError(
        absl::StrCat("device '", device_->name(), "' was removed from the machine"));
    if (was_up) AddLinkEvent(false);
    return;
  }
  // It may have gone and come back meanwhile.
  if (was_up == is_up) AddLinkEvent(!is_up);
  AddLinkEvent(is_up);
}

void DpdkFramePort::Maintain() {
  const uint64_t now = rte_rdtsc();
  if (now < maintain_at_ticks_) return;
  maintain_at_ticks_ = now + rte_get_tsc_hz() / kMaintainPerSecond;
  // What is the device's and no queue's is counted once, by the first.
  if (queue_ != 0) return;
  device_->PollLink();
  ReadStats();
}

void DpdkFramePort::ReadStats() {
  rte_eth_stats now;
  if (rte_eth_stats_get(port_id_, &now) != 0) return;
  // Devices may start again from 0.
  const auto grown = [](uint64_t before, uint64_t after) {
    return after >= before ? after - before : after;
  };
  stats_.receive_dropped += grown(stats_seen_.imissed, now.imissed);
  stats_.receive_dropped += grown(stats_seen_.rx_nombuf, now.rx_nombuf);
  stats_.receive_malformed += grown(stats_seen_.ierrors, now.ierrors);
  stats_seen_ = now;
}

}  // namespace weft::dpdk
