// SPDX-License-Identifier: Apache-2.0
//
// What the kernel and libibverbs say of devices.

#include <infiniband/verbs.h>
#include <net/if.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "weft/transports/rdma/device.h"

namespace weft::rdma {
namespace {

constexpr char kSysfs[] = "/sys/class/infiniband";

// Of devices that the kernel has, by name.
std::vector<std::string> NamesInKernel() {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(kSysfs, error)) {
    names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool IsSoftware(const std::string& name) {
  std::error_code error;
  const std::string target =
      std::filesystem::read_symlink(std::filesystem::path(kSysfs) / name, error);
  return absl::StrContains(target, "/virtual/");
}

// The device that programs open for it, "/dev/infiniband/uverbs0"; empty if the kernel makes none.
std::string NodeOf(const std::string& name) {
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator("/sys/class/infiniband_verbs", error)) {
    std::ifstream file(entry.path() / "ibdev");
    std::string of;
    if (file >> of && of == name) {
      return absl::StrCat("/dev/infiniband/", entry.path().filename().string());
    }
  }
  return "";
}

// libibverbs waits for seconds for a device that cannot be opened, and does not say why.
absl::Status CheckAccess(const DeviceInfo& device) {
  if (device.node.empty()) {
    return absl::UnavailableError(
        absl::StrCat(device.name, " is not open to programs; as root run: modprobe ib_uverbs"));
  }
  if (access(device.node.c_str(), R_OK | W_OK) == 0) return absl::OkStatus();
  const int error = errno;
  const std::string what =
      absl::StrCat("cannot open ", device.node, " of ", device.name, ": ", std::strerror(error));
  if (error == ENOENT) {
    return absl::UnavailableError(absl::StrCat(
        what, "; udev makes it, and a container is to be given it: --device=", device.node));
  }
  return absl::PermissionDeniedError(
      absl::StrCat(what, "; as root run: chmod 666 ", device.node,
                   " (rdma-core has a udev rule for it; a container is to be given it)"));
}

PortInfo ReadPort(uint8_t number, const ibv_port_attr& attributes,
                  const std::vector<ibv_gid_entry>& gids) {
  PortInfo port;
  port.number = number;
  switch (attributes.state) {
    case IBV_PORT_ACTIVE:
      port.state = PortInfo::State::kActive;
      break;
    case IBV_PORT_ARMED:
      port.state = PortInfo::State::kArmed;
      break;
    case IBV_PORT_INIT:
      port.state = PortInfo::State::kInitializing;
      break;
    default:
      port.state = PortInfo::State::kDown;
  }
  port.is_infiniband = attributes.link_layer != IBV_LINK_LAYER_ETHERNET;
  port.mtu_bytes = size_t{128} << attributes.active_mtu;
  port.lid = port.is_infiniband ? attributes.lid : 0;
  for (const ibv_gid_entry& entry : gids) {
    if (entry.port_num != number) continue;
    GidEntry& gid = port.gids.emplace_back();
    gid.index = entry.gid_index;
    gid.type = entry.gid_type == IBV_GID_TYPE_ROCE_V2   ? GidType::kRoceV2
               : entry.gid_type == IBV_GID_TYPE_ROCE_V1 ? GidType::kRoceV1
                                                        : GidType::kInfiniBand;
    std::memcpy(gid.gid.bytes.data(), entry.gid.raw, gid.gid.bytes.size());
    gid.interface_index = entry.ndev_ifindex;
    char interface[IF_NAMESIZE] = "";
    if (entry.ndev_ifindex != 0 && if_indextoname(entry.ndev_ifindex, interface) != nullptr) {
      gid.interface = interface;
    }
  }
  std::sort(port.gids.begin(), port.gids.end(),
            [](const GidEntry& a, const GidEntry& b) { return a.index < b.index; });
  return port;
}

absl::Status ReadPorts(ibv_context* context, DeviceInfo& device) {
  ibv_device_attr attributes;
  if (const int error = ibv_query_device(context, &attributes); error != 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot query ", device.name, ": ", std::strerror(error)));
  }
  std::vector<ibv_port_attr> ports(attributes.phys_port_cnt);
  size_t gids_max = 0;
  for (size_t i = 0; i < ports.size(); ++i) {
    if (const int error = ibv_query_port(context, static_cast<uint8_t>(i + 1), &ports[i])) {
      return absl::UnavailableError(absl::StrCat("cannot query port ", i + 1, " of ", device.name,
                                                 ": ", std::strerror(error)));
    }
    gids_max += static_cast<size_t>(ports[i].gid_tbl_len);
  }
  std::vector<ibv_gid_entry> gids(gids_max);
  const ssize_t count = ibv_query_gid_table(context, gids.data(), gids.size(), 0);
  if (count < 0) {
    return absl::UnavailableError(absl::StrCat("cannot read the GIDs of ", device.name, ": ",
                                               std::strerror(static_cast<int>(-count))));
  }
  gids.resize(static_cast<size_t>(count));
  for (size_t i = 0; i < ports.size(); ++i) {
    device.ports.push_back(ReadPort(static_cast<uint8_t>(i + 1), ports[i], gids));
  }
  return absl::OkStatus();
}

absl::Status Read(ibv_device* found, DeviceInfo& device) {
  if (found == nullptr) {
    return absl::UnavailableError(absl::StrCat("libibverbs has no driver for ", device.name,
                                               "; install the package ibverbs-providers"));
  }
  if (found->transport_type != IBV_TRANSPORT_IB) {
    return absl::UnimplementedError(
        absl::StrCat(device.name, " has no datagrams (it is not InfiniBand or RoCE)"));
  }
  const std::unique_ptr<ibv_context, int (*)(ibv_context*)> context(ibv_open_device(found),
                                                                    &ibv_close_device);
  if (context == nullptr) {
    return absl::UnavailableError(
        absl::StrCat("cannot open ", device.node, " of ", device.name, ": ", std::strerror(errno)));
  }
  return ReadPorts(context.get(), device);
}

}  // namespace

absl::StatusOr<std::vector<DeviceInfo>> ListDevices() {
  const std::vector<std::string> names = NamesInKernel();
  if (names.empty()) {
    return absl::UnavailableError(
        "this machine has no RDMA device (nothing in /sys/class/infiniband): load the driver of "
        "its NIC, or make one in software over an interface: modprobe rdma_rxe && rdma link add "
        "rxe0 type rxe netdev eth0");
  }
  std::vector<DeviceInfo> devices;
  bool any = false;
  for (const std::string& name : names) {
    DeviceInfo& device = devices.emplace_back();
    device.name = name;
    device.is_software = IsSoftware(name);
    device.node = NodeOf(name);
    device.status = CheckAccess(device);
    any = any || device.status.ok();
  }
  if (!any) return devices;

  int count = 0;
  const std::unique_ptr<ibv_device*, void (*)(ibv_device**)> found(ibv_get_device_list(&count),
                                                                   &ibv_free_device_list);
  for (DeviceInfo& device : devices) {
    if (!device.status.ok()) continue;
    ibv_device* same = nullptr;
    for (int i = 0; found != nullptr && i < count; ++i) {
      if (device.name == ibv_get_device_name(found.get()[i])) same = found.get()[i];
    }
    device.status = Read(same, device);
  }
  return devices;
}

absl::Status ProbeDevices() {
  const auto devices = ListDevices();
  if (!devices.ok()) return devices.status();
  absl::Status obstacle;
  for (const DeviceInfo& device : *devices) {
    if (!device.status.ok()) {
      obstacle.Update(device.status);
      continue;
    }
    for (const PortInfo& port : device.ports) {
      if (port.state == PortInfo::State::kActive) return absl::OkStatus();
    }
    obstacle.Update(absl::UnavailableError(absl::StrCat(device.name, " has no port that is up")));
  }
  return obstacle;
}

size_t LockedMemoryBytesMax() {
  rlimit limit;
  if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return SIZE_MAX;
  // Who has the capability CAP_IPC_LOCK is not limited.
  constexpr int kIpcLock = 14;
  std::ifstream file("/proc/self/status");
  for (std::string word; file >> word;) {
    uint64_t effective = 0;
    if (word == "CapEff:" && file >> std::hex >> effective && (effective >> kIpcLock & 1) != 0) {
      return SIZE_MAX;
    }
  }
  return limit.rlim_cur;
}

std::string LockedMemoryCure() {
  return "raise it by `ulimit -l unlimited`, by LimitMEMLOCK=infinity in a systemd unit, or by "
         "memlock in /etc/security/limits.conf";
}

}  // namespace weft::rdma
