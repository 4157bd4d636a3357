// SPDX-License-Identifier: Apache-2.0
//
// A device's queues: configuring, starting and stopping it.
#include <rte_ethdev.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/transports/dpdk/device.h"
#include "weft/transports/dpdk/eal.h"
#include "weft/transports/dpdk/offload.h"

namespace weft::dpdk {
namespace {

// Both directions of a flow get the same hash with this key, whose 16-bit words are all equal.
constexpr size_t kRssKeyBytesMax = 64;
struct RssKey {
  uint8_t bytes[kRssKeyBytesMax];
  constexpr RssKey() : bytes() {
    for (size_t i = 0; i < kRssKeyBytesMax; ++i) bytes[i] = i % 2 == 0 ? 0x6d : 0x5a;
  }
};
constexpr RssKey kRssKey;

int OnEvent(uint16_t port_id, rte_eth_event_type event, void* context, void*) {
  auto* signals = static_cast<DeviceSignals*>(context);
  if (event == RTE_ETH_EVENT_INTR_RMV) {
    signals->SetRemoved();
    return 0;
  }
  rte_eth_link link = {};
  if (rte_eth_link_get_nowait(port_id, &link) == 0) {
    signals->SetLink(link.link_status == RTE_ETH_LINK_UP);
  }
  return 0;
}

}  // namespace

absl::StatusOr<MbufPool*> Device::OpenQueue(int queue, int queues) {
  const std::lock_guard<std::mutex> lock(ControlMutex());
  if (queues < 1 || queue < 0 || queue >= queues) {
    return absl::InvalidArgumentError(
        absl::StrCat("queue ", queue, " of ", queues, " does not exist"));
  }
  if (!queues_.empty()) {
    if (queues_.size() != static_cast<size_t>(queues)) {
      return absl::InvalidArgumentError(
          Because(absl::StrCat("it runs with ", queues_.size(),
                               " queues since its first port was opened, not ", queues)));
    }
    if (queues_[queue].open) {
      return absl::AlreadyExistsError(
          Because(absl::StrCat("queue ", queue, " is in use by another port")));
    }
  } else {
    if (port_id_ == RTE_MAX_ETHPORTS) {
      if (absl::Status status = PlugIn(); !status.ok()) {
        Unplug();
        return status;
      }
    }
    if (absl::Status status = Start(queues); !status.ok()) {
      Stop();
      return status;
    }
  }
  queues_[queue].open = true;
  ApplyGroups();
  return &queues_[queue].pool;
}

void Device::CloseQueue(int queue, BufferPool buffers) {
  const std::lock_guard<std::mutex> lock(ControlMutex());
  queues_[queue].pool.Return(std::move(buffers));
  queues_[queue].open = false;
  queues_[queue].chose_groups = false;
  queues_[queue].groups.clear();
  if (std::none_of(queues_.begin(), queues_.end(), [](const Queue& q) { return q.open; })) {
    Stop();
  } else {
    ApplyGroups();
  }
}

absl::Status Device::Start(int queues) {
  const int queues_max = std::min(info_.max_rx_queues, info_.max_tx_queues);
  if (queues > queues_max) {
    return absl::InvalidArgumentError(Because(absl::StrCat(
        "it has ", queues_max, queues_max == 1 ? " queue" : " queues", ", and ", queues,
        " are asked for, one for each worker: lower host.workers, or give the device "
        "more")));
  }
  const ScopedSignalBlock block;
  if (absl::Status status = Configure(static_cast<uint16_t>(queues)); !status.ok()) return status;
  queues_ = std::vector<Queue>(static_cast<size_t>(queues));
  if (absl::Status status = SetUpQueues(); !status.ok()) return status;

  signals_->removed.store(false);
  for (const rte_eth_event_type event : {RTE_ETH_EVENT_INTR_LSC, RTE_ETH_EVENT_INTR_RMV}) {
    rte_eth_dev_callback_register(port_id_, event, &OnEvent, signals_.get());
  }
  const EalLog log;
  if (const int error = rte_eth_dev_start(port_id_); error != 0) {
    return log.Explain(Because("it does not start"), -error);
  }
  SetModes();
  PollLink();
  return absl::OkStatus();
}

absl::Status Device::Configure(uint16_t queues) {
  rte_eth_conf conf = {};
  conf.rxmode.mtu = mtu_;
  conf.rxmode.offloads = receive_offloads_;
  conf.txmode.offloads = send_offloads_;
  conf.intr_conf.lsc = (*info_.dev_flags & RTE_ETH_DEV_INTR_LSC) != 0;
  conf.intr_conf.rmv = (*info_.dev_flags & RTE_ETH_DEV_INTR_RMV) != 0;
  const uint64_t hashes =
      info_.flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP | RTE_ETH_RSS_TCP);
  uint8_t key[kRssKeyBytesMax];
  std::copy_n(kRssKey.bytes, kRssKeyBytesMax, key);
  if (queues > 1 && hashes != 0) {
    conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf.rx_adv_conf.rss_conf.rss_hf = hashes;
    if (info_.hash_key_size > 0 && info_.hash_key_size <= kRssKeyBytesMax) {
      conf.rx_adv_conf.rss_conf.rss_key = key;
      conf.rx_adv_conf.rss_conf.rss_key_len = info_.hash_key_size;
    }
  }
  const EalLog log;
  if (const int error = rte_eth_dev_configure(port_id_, queues, queues, &conf); error != 0) {
    return log.Explain(Because("it cannot be configured"), -error);
  }
  if (config_.mtu() == 0) return absl::OkStatus();
  // Devices that do not know the call, such as net_vhost, take frames of any size.
  const int error = rte_eth_dev_set_mtu(port_id_, mtu_);
  if (error != 0 && error != -ENOTSUP) {
    return log.Explain(Because(absl::StrCat("its MTU cannot be set to ", mtu_)), -error);
  }
  return absl::OkStatus();
}

absl::Status Device::SetUpQueues() {
  auto receive = static_cast<uint16_t>(config_.receive_descriptors());
  auto send = static_cast<uint16_t>(config_.send_descriptors());
  const EalLog log;
  if (rte_eth_dev_adjust_nb_rx_tx_desc(port_id_, &receive, &send) != 0) {
    return log.Explain(Because("it cannot have rings of that size"), EINVAL);
  }
  rte_eth_rxconf receive_conf = info_.default_rxconf;
  receive_conf.offloads = receive_offloads_;
  rte_eth_txconf send_conf = info_.default_txconf;
  send_conf.offloads = send_offloads_;
  const int socket = rte_eth_dev_socket_id(port_id_);
  const auto node = static_cast<unsigned>(socket);
  for (uint16_t i = 0; i < queues_.size(); ++i) {
    MbufPool& pool = queues_[i].pool;
    absl::Status status =
        pool.Make(size_t{config::PinnedCount(buffers_)} + receive + send, buffer_bytes_);
    if (!status.ok()) return status;
    int error = rte_eth_rx_queue_setup(port_id_, i, receive, node, &receive_conf, pool.mempool());
    if (error == 0) error = rte_eth_tx_queue_setup(port_id_, i, send, node, &send_conf);
    if (error != 0) return log.Explain(Because(absl::StrCat("queue ", i, " is refused")), -error);
  }
  return absl::OkStatus();
}

// What a device cannot do of this it does not need: it has no filter.
void Device::SetModes() {
  if (config_.promiscuous()) {
    rte_eth_promiscuous_enable(port_id_);
  } else {
    rte_eth_promiscuous_disable(port_id_);
  }
}

void Device::Stop() {
  {
    const ScopedSignalBlock block;
    for (const rte_eth_event_type event : {RTE_ETH_EVENT_INTR_LSC, RTE_ETH_EVENT_INTR_RMV}) {
      // Refused while it runs, on the interrupt thread; what it writes to may soon be gone.
      while (rte_eth_dev_callback_unregister(port_id_, event, &OnEvent, signals_.get()) ==
             -EAGAIN) {
        std::this_thread::yield();
      }
    }
    rte_eth_dev_stop(port_id_);
  }
  // A device gives back the buffers in its rings before their memory may go. net_vhost has none.
  if (!IsVhost()) Unplug();
  queues_.clear();
  signals_->SetLink(false);
}

absl::Status Device::SetGroups(int queue, absl::Span<const MacAddress> groups) {
  for (const MacAddress& group : groups) {
    if ((group[0] & 1) == 0) {
      return absl::InvalidArgumentError("a filter's groups must be addresses of groups");
    }
  }
  const std::lock_guard<std::mutex> lock(ControlMutex());
  queues_[queue].chose_groups = true;
  queues_[queue].groups.assign(groups.begin(), groups.end());
  ApplyGroups();
  return absl::OkStatus();
}

void Device::ApplyGroups() {
  std::vector<MacAddress> wanted;
  bool all = false;  // some port has not chosen
  for (const Queue& queue : queues_) {
    all = all || (queue.open && !queue.chose_groups);
    wanted.insert(wanted.end(), queue.groups.begin(), queue.groups.end());
  }
  std::sort(wanted.begin(), wanted.end());
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  std::vector<rte_ether_addr> list(wanted.size());
  for (size_t i = 0; i < list.size(); ++i) {
    std::copy(wanted[i].begin(), wanted[i].end(), std::begin(list[i].addr_bytes));
  }
  // A device without such a list, or with a shorter one, receives all groups instead.
  const bool listed = !all && rte_eth_dev_set_mc_addr_list(port_id_, list.data(),
                                                           static_cast<uint32_t>(list.size())) == 0;
  if (listed || (!all && list.empty())) {
    rte_eth_allmulticast_disable(port_id_);
  } else {
    rte_eth_allmulticast_enable(port_id_);
  }
}

}  // namespace weft::dpdk
