// SPDX-License-Identifier: Apache-2.0
//
// The RDMA devices of this machine, their ports and GIDs, and which of them a port is opened on.
//
//   std::vector<DeviceInfo> devices = *ListDevices();
//   PortChoice choice = *ChoosePort(devices, settings, *Address::Parse("10.77.0.1:8000"));
//
// A GID is a port's address in RDMA's terms, 16 bytes. Over RoCE it is an IP address of the network
// interface below (of IPv4 in its mapped form, ::ffff:a.b.c.d), and its place in the port's table
// says how packets are wrapped: in UDP (RoCEv2) or in Ethernet frames (RoCEv1).
#ifndef WEFT_TRANSPORTS_RDMA_DEVICE_H_
#define WEFT_TRANSPORTS_RDMA_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "weft/config/config.h"
#include "weft/transports/address.h"
#include "weft/transports/rdma/nic.h"

namespace weft::rdma {

enum class GidType : uint8_t { kInfiniBand, kRoceV1, kRoceV2 };
absl::string_view GidTypeName(GidType type);

struct GidEntry {
  uint32_t index = 0;
  GidType type = GidType::kRoceV2;
  Gid gid;
  std::string interface;         // network interface that it is an address of; empty if none
  uint32_t interface_index = 0;  // likewise; 0
};

// Whether a GID is an IPv4 address, and its text: "10.77.0.1", "fe80::1".
bool IsIpv4(const Gid& gid);
std::string GidText(const Gid& gid);
// The GID of an IP address.
Gid GidOf(const Address& address);

struct PortInfo {
  enum class State : uint8_t { kDown, kInitializing, kArmed, kActive };
  uint8_t number = 1;
  State state = State::kDown;
  bool is_infiniband = false;  // and not Ethernet
  size_t mtu_bytes = 0;        // active: longest payload of a packet
  uint16_t lid = 0;
  std::vector<GidEntry> gids;  // those that are set, by index
};
absl::string_view StateName(PortInfo::State state);

struct DeviceInfo {
  std::string name = {};
  std::string node = {};     // "/dev/infiniband/uverbs0"
  bool is_software = false;  // Soft-RoCE
  // Not ok: why it cannot be used at all, and what to do. Then it has no ports here.
  absl::Status status = {};
  std::vector<PortInfo> ports = {};
};

// All devices that the kernel knows, usable or not, by name. Unavailable when there are none: why,
// as far as it can be told, and what to do.
absl::StatusOr<std::vector<DeviceInfo>> ListDevices();

// Ok when a device has a port that is up; otherwise the first obstacle.
absl::Status ProbeDevices();

// How much memory this process may lock for devices, RLIMIT_MEMLOCK; SIZE_MAX when nothing limits
// it. And a sentence on how to raise it.
size_t LockedMemoryBytesMax();
std::string LockedMemoryCure();

struct PortChoice {
  std::string device;
  bool is_software = false;
  uint8_t port = 1;
  GidEntry gid;
};

// Device, port and GID as the settings name them; what they do not name follows from the IP address
// `local` that a port is opened at, and if that is any, the only port that is up is taken. Errors:
//   NotFound             no such device, port or GID, or no device with that address
//   FailedPrecondition   the port is down, or several would do
//   PermissionDenied, Unavailable   status of the device
absl::StatusOr<PortChoice> ChoosePort(absl::Span<const DeviceInfo> devices,
                                      const config::Rdma& settings, const Address& local);

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_DEVICE_H_
