// SPDX-License-Identifier: Apache-2.0
//
// Plugging a device in and out.
#include "weft/transports/dpdk/device.h"

#include <rte_dev.h>
#include <rte_ethdev.h>
#include <rte_ether.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "weft/core/cpu.h"
#include "weft/transports/dpdk/eal.h"
#include "weft/transports/dpdk/machine.h"
#include "weft/transports/dpdk/offload.h"
#include "weft/transports/dpdk/virtual_device.h"

namespace weft::dpdk {
namespace {

// Besides buffers: EAL's own, rings of descriptors, what vhost keeps of a peer.
constexpr uint32_t kOwnMemoryMb = 64;
// So that a receive buffer is a multiple of what physical devices count in, as DPDK's own default.
constexpr size_t kReceiveBytesMin = 2048;

constexpr char kVirtualDrivers[] =
    "net_af_packet, net_null, net_ring, net_tap, net_vhost and net_virtio_user";

std::vector<std::string> PciDevices(const config::Dpdk& config) {
  std::vector<std::string> devices;
  for (const std::string& device : config.pci_devices()) devices.push_back(FullPciAddress(device));
  if (IsPciAddress(config.device())) {
    const std::string device = FullPciAddress(config.device());
    if (std::find(devices.begin(), devices.end(), device) == devices.end()) {
      devices.push_back(device);
    }
  }
  return devices;
}

// PCI devices that some Device of this process has. Under ControlMutex().
std::set<std::string>& PciDevicesInUse() {
  static auto* const devices = new std::set<std::string>;
  return *devices;
}

absl::Status BelongsToAnother(const std::string& name) {
  return absl::AlreadyExistsError(absl::StrCat(
      "device '", name, "' belongs to another transport of this process: choose another"));
}

size_t RoundUp(size_t value, size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Memory of a buffer: at least what the configuration says, and a frame of the largest size.
size_t BufferBytes(const config::Buffers& buffers, size_t mtu) {
  const size_t frame = RoundUp(mtu + kFrameOverheadBytes, 1024);
  const size_t bytes = std::max<size_t>(RoundUp(config::EthernetBytes(buffers), 64),
                                        RTE_PKTMBUF_HEADROOM + std::max(frame, kReceiveBytesMin));
  return std::min(bytes, kMbufMemoryMax);
}

size_t BuffersOfAQueue(const config::Dpdk& config, const config::Buffers& buffers) {
  return size_t{config::PinnedCount(buffers)} + config.receive_descriptors() +
         config.send_descriptors();
}

// How many queues there will be is not known when EAL starts: as many as cores.
uint32_t MemoryMb(const config::Dpdk& config, const config::Buffers& buffers) {
  const size_t mbuf_bytes =
      BufferBytes(buffers, config.mtu()) + sizeof(rte_mbuf) + 3 * sizeof(internal::BufferSlot);
  const size_t queue_bytes = BuffersOfAQueue(config, buffers) * mbuf_bytes;
  const size_t queues = std::max<size_t>(AllowedCores().size(), 2);
  return kOwnMemoryMb + static_cast<uint32_t>((queue_bytes * queues) >> 20);
}

}  // namespace

void DeviceSignals::SetLink(bool up) {
  // Writers: the interrupt thread, and the port that looks now and then.
  uint32_t before = link.load(std::memory_order_relaxed);
  while (IsUp(before) != up && !link.compare_exchange_weak(before, before + 1)) {
  }
}

void DeviceSignals::SetRemoved() {
  removed.store(true, std::memory_order_release);
  SetLink(false);
  link.fetch_add(2);  // in case it was down already
}

absl::StatusOr<std::unique_ptr<Device>> Device::Open(const config::Transport& config) {
  auto device = std::unique_ptr<Device>(new Device(config));
  if (absl::Status status = device->ChooseDevice(); !status.ok()) return status;
  for (const std::string& pci : device->pci_devices_) {
    if (absl::Status status = CheckPciDevice(pci); !status.ok()) return status;
  }
  const std::lock_guard<std::mutex> lock(ControlMutex());
  absl::Status status =
      StartEal(config.dpdk(), device->pci_devices_, MemoryMb(config.dpdk(), config.buffers()));
  if (!status.ok()) return status;
  if (status = device->PlugIn(); !status.ok()) {
    device->Unplug();
    return status;
  }
  return device;
}

Device::Device(const config::Transport& config)
    : config_(config.dpdk()),
      buffers_(config.buffers()),
      pci_devices_(PciDevices(config.dpdk())),
      name_(FullPciAddress(config.dpdk().device())) {}

Device::~Device() {
  const std::lock_guard<std::mutex> lock(ControlMutex());
  Unplug();
}

std::string Device::Because(absl::string_view what) const {
  return absl::StrCat("device '", name_, "': ", what);
}

absl::Status Device::ChooseDevice() {
  std::vector<std::string> names = pci_devices_;
  for (const std::string& text : config_.virtual_devices()) {
    const absl::StatusOr<VirtualDevice> device = VirtualDevice::Parse(text);
    if (!device.ok()) return device.status();
    names.push_back(device->name);
  }
  if (name_.empty()) {
    if (names.size() != 1) {
      return absl::InvalidArgumentError(
          names.empty()
              ? "dpdk { } names no device: set virtual_devices, or device to a PCI address"
              : absl::StrCat("dpdk { } has several devices: set device to one of ",
                             absl::StrJoin(names, ", ")));
    }
    name_ = names.front();
  }
  if (std::find(names.begin(), names.end(), name_) != names.end()) return absl::OkStatus();
  return absl::NotFoundError(
      Because(absl::StrCat("there is no such device; dpdk { } makes ",
                           names.empty() ? "none" : absl::StrJoin(names, ", "))));
}

absl::Status Device::PlugIn() {
  const ScopedSignalBlock block;
  for (const std::string& text : config_.virtual_devices()) {
    const absl::StatusOr<VirtualDevice> device = VirtualDevice::Parse(text);
    if (!device.ok()) return device.status();
    uint16_t taken;
    if (rte_eth_dev_get_port_by_name(device->name.c_str(), &taken) == 0) {
      return BelongsToAnother(device->name);
    }
    if (absl::Status status = device->ClearSocket(); !status.ok()) return status;
    const EalLog log;
    const int error = rte_eal_hotplug_add("vdev", device->name.c_str(), device->arguments.c_str());
    // That nobody knows how to read the name is all that EAL says of a driver it has not.
    if (error == -EFAULT) {
      return absl::UnimplementedError(absl::StrCat("cannot make device '", device->name,
                                                   "': this program is linked with the drivers of ",
                                                   kVirtualDrivers, " only"));
    }
    if (error != 0) {
      return log.Explain(absl::StrCat("cannot make device '", device->name, "'"), -error);
    }
    plugged_.insert(plugged_.end(), {"vdev", device->name});
  }
  // Further ones of pci_devices stay as they are: another transport may have them.
  if (IsPciAddress(name_)) {
    if (PciDevicesInUse().count(name_) != 0) return BelongsToAnother(name_);
    const EalLog log;
    const int error = rte_eal_hotplug_add("pci", name_.c_str(), "");
    // EAL has plugged in those that it was started with.
    if (error != 0 && error != -EEXIST) {
      return log.Explain(absl::StrCat("cannot use PCI device ", name_), -error);
    }
    PciDevicesInUse().insert(name_);
    plugged_.insert(plugged_.end(), {"pci", name_});
  }
  if (absl::Status status = FindPort(); !status.ok()) return status;
  if (absl::Status status = ReadInfo(); !status.ok()) return status;
  // It listens once it is configured, and the other end must find it before it has ports.
  return IsVhost() ? Configure(1) : absl::OkStatus();
}

absl::Status Device::FindPort() {
  if (rte_eth_dev_get_port_by_name(name_.c_str(), &port_id_) == 0) return absl::OkStatus();
  return absl::UnimplementedError(
      Because("none of the drivers that this program is linked with knows it (see the README of "
              "transports/dpdk for those there are)"));
}

absl::Status Device::ReadInfo() {
  if (const int error = rte_eth_dev_info_get(port_id_, &info_); error != 0) {
    return absl::UnavailableError(Because(std::strerror(-error)));
  }
  uint16_t mtu = RTE_ETHER_MTU;
  rte_eth_dev_get_mtu(port_id_, &mtu);
  mtu_ = static_cast<uint16_t>(config_.mtu() != 0 ? config_.mtu() : mtu);
  const size_t mtu_max =
      std::min<size_t>(info_.max_mtu, kMbufMemoryMax - RTE_PKTMBUF_HEADROOM - kFrameOverheadBytes);
  if (mtu_ < info_.min_mtu || mtu_ > mtu_max) {
    return absl::InvalidArgumentError(Because(
        absl::StrCat("mtu ", mtu_, " is out of its range, ", info_.min_mtu, " to ", mtu_max)));
  }
  buffer_bytes_ = BufferBytes(buffers_, mtu_);
  send_offloads_ = SendOffloads(config_, info_);
  receive_offloads_ = ReceiveOffloads(config_, info_);

  capabilities_.frames = true;
  capabilities_.max_frame_bytes = size_t{mtu_} + RTE_ETHER_HDR_LEN;
  capabilities_.checksum_offload = (send_offloads_ & kL4ChecksumOffloads) == kL4ChecksumOffloads;
  capabilities_.segmentation_offload = (send_offloads_ & RTE_ETH_TX_OFFLOAD_TCP_TSO) != 0;
  return absl::OkStatus();
}

bool Device::IsVhost() const { return std::strcmp(info_.driver_name, "net_vhost") == 0; }

void Device::Unplug() {
  const ScopedSignalBlock block;
  if (port_id_ != RTE_MAX_ETHPORTS) rte_eth_dev_close(port_id_);
  port_id_ = RTE_MAX_ETHPORTS;
  while (!plugged_.empty()) {
    const std::string name = std::move(plugged_.back());
    plugged_.pop_back();
    rte_eal_hotplug_remove(plugged_.back().c_str(), name.c_str());
    PciDevicesInUse().erase(name);
    plugged_.pop_back();
  }
}

MacAddress Device::mac() const {
  rte_ether_addr address = {};
  rte_eth_macaddr_get(port_id_, &address);
  MacAddress mac;
  std::copy(std::begin(address.addr_bytes), std::end(address.addr_bytes), mac.begin());
  return mac;
}

void Device::PollLink() {
  rte_eth_link link = {};
  if (rte_eth_link_get_nowait(port_id_, &link) == 0) {
    signals_->SetLink(link.link_status == RTE_ETH_LINK_UP);
  }
}

}  // namespace weft::dpdk
