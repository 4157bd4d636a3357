// SPDX-License-Identifier: Apache-2.0

#include "weft/transports/rdma/device.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace weft::rdma {
namespace {

constexpr uint8_t kMappedPrefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

constexpr uint32_t kGidIndexMax = 255;  // that fits ibv_global_route::sgid_index

struct Candidate {
  const DeviceInfo* device;
  const PortInfo* port;
  std::string Name() const { return absl::StrCat("port ", port->number, " of ", device->name); }
};

std::string GidListOf(const PortInfo& port) {
  if (port.gids.empty()) return "none";
  return absl::StrJoin(port.gids, ", ", [](std::string* out, const GidEntry& gid) {
    absl::StrAppend(out, gid.index, " (", GidText(gid.gid), ", ", GidTypeName(gid.type), ")");
  });
}

absl::Status PortDown(const Candidate& down) {
  std::string cure;
  if (down.port->is_infiniband) {
    cure = down.port->state == PortInfo::State::kDown ? "its cable or switch is to be looked at"
                                                      : "it waits for a subnet manager (opensm)";
  } else {
    std::string interface = "INTERFACE";
    for (const GidEntry& gid : down.port->gids) {
      if (!gid.interface.empty()) interface = gid.interface;
    }
    cure = absl::StrCat("look at its cable, and run: ip link set ", interface, " up");
  }
  return absl::FailedPreconditionError(
      absl::StrCat(down.Name(), " is ", StateName(down.port->state), "; ", cure));
}

absl::StatusOr<std::vector<const DeviceInfo*>> DevicesWanted(absl::Span<const DeviceInfo> devices,
                                                             const config::Rdma& settings) {
  std::vector<const DeviceInfo*> wanted;
  absl::Status obstacle;
  for (const DeviceInfo& device : devices) {
    if (!settings.device().empty() && device.name != settings.device()) continue;
    if (device.status.ok()) {
      wanted.push_back(&device);
    } else {
      obstacle.Update(device.status);
    }
  }
  if (!wanted.empty()) return wanted;
  if (!obstacle.ok()) return obstacle;
  return absl::NotFoundError(absl::StrCat(
      "there is no RDMA device ", settings.device(), " (rdma.device); these are there: ",
      absl::StrJoin(devices, ", ", [](std::string* out, const DeviceInfo& device) {
        absl::StrAppend(out, device.name);
      })));
}

absl::StatusOr<std::vector<Candidate>> PortsWanted(absl::Span<const DeviceInfo* const> devices,
                                                   uint32_t number) {
  std::vector<Candidate> wanted;
  for (const DeviceInfo* device : devices) {
    for (const PortInfo& port : device->ports) {
      if (number == 0 || port.number == number) wanted.push_back({device, &port});
    }
  }
  if (!wanted.empty()) return wanted;
  const size_t ports = devices[0]->ports.size();
  return absl::NotFoundError(absl::StrCat(devices[0]->name, " has no port ", number,
                                          " (rdma.port), only 1",
                                          ports > 1 ? absl::StrCat(" to ", ports) : ""));
}

// How good a GID is for a port that nobody has named one for; 0: not at all.
int Preference(const GidEntry& gid) {
  if (gid.type == GidType::kInfiniBand) return 1;
  if (gid.type == GidType::kRoceV1) return 0;
  if (IsIpv4(gid.gid)) return 4;
  const bool link_local = gid.gid.bytes[0] == 0xfe && (gid.gid.bytes[1] & 0xc0) == 0x80;
  return link_local ? 2 : 3;
}

// The entry of `port` that the settings name, or else the best of those that `local` allows.
const GidEntry* BestGid(const PortInfo& port, const config::Rdma& settings, const Address& local) {
  const bool by_address = local.is_ip() && !local.is_any() && !port.is_infiniband;
  const GidEntry* best = nullptr;
  for (const GidEntry& gid : port.gids) {
    if (by_address && gid.gid != GidOf(local)) continue;
    if (by_address && local.scope() != 0 && gid.interface_index != local.scope()) continue;
    if (settings.gid_index() >= 0) {
      if (gid.index == static_cast<uint32_t>(settings.gid_index())) return &gid;
    } else if (Preference(gid) > (best == nullptr ? 0 : Preference(*best))) {
      best = &gid;
    }
  }
  return best;
}

absl::Status NoGid(absl::Span<const Candidate> ports, const config::Rdma& settings,
                   const Address& local) {
  const bool by_address = local.is_ip() && !local.is_any();
  if (settings.gid_index() >= 0) {
    const Candidate& first = ports[0];
    for (const GidEntry& gid : first.port->gids) {
      if (gid.index != static_cast<uint32_t>(settings.gid_index())) continue;
      return absl::NotFoundError(
          absl::StrCat("GID ", gid.index, " of ", first.Name(), " is ", GidText(gid.gid),
                       ", and not that of ", local.ToString(),
                       "; leave rdma.gid_index out, and it is found by the address; there are ",
                       GidListOf(*first.port)));
    }
    return absl::NotFoundError(absl::StrCat(
        first.Name(), " has no GID ", settings.gid_index(), "; there are ", GidListOf(*first.port),
        "; set rdma.gid_index to one of them, or leave it out"));
  }
  std::vector<std::string> known;
  for (const Candidate& port : ports) {
    for (const GidEntry& gid : port.port->gids) {
      if (by_address && gid.gid == GidOf(local) && gid.type == GidType::kRoceV1) {
        return absl::NotFoundError(absl::StrCat(port.Name(), " has ", GidText(gid.gid),
                                                " for RoCEv1 only; set gid_index: ", gid.index,
                                                " to use that"));
      }
      known.push_back(absl::StrCat(GidText(gid.gid), " (", port.device->name, ")"));
    }
  }
  const std::string list = known.empty() ? "none has any" : absl::StrJoin(known, ", ");
  if (!by_address) {
    return absl::NotFoundError(absl::StrCat("no GID of RoCEv2 or InfiniBand on ", ports[0].Name(),
                                            "; there are ", GidListOf(*ports[0].port),
                                            "; does its interface have an IP address?"));
  }
  return absl::NotFoundError(
      absl::StrCat("no RDMA device has the address of ", local.ToString(), "; there are: ", list));
}

}  // namespace

absl::string_view GidTypeName(GidType type) {
  switch (type) {
    case GidType::kInfiniBand:
      return "InfiniBand";
    case GidType::kRoceV1:
      return "RoCEv1";
    case GidType::kRoceV2:
      return "RoCEv2";
  }
  return "";
}

absl::string_view StateName(PortInfo::State state) {
  switch (state) {
    case PortInfo::State::kDown:
      return "down";
    case PortInfo::State::kInitializing:
      return "initializing";
    case PortInfo::State::kArmed:
      return "armed";
    case PortInfo::State::kActive:
      return "active";
  }
  return "";
}

bool IsIpv4(const Gid& gid) {
  return std::memcmp(gid.bytes.data(), kMappedPrefix, sizeof(kMappedPrefix)) == 0;
}

std::string GidText(const Gid& gid) {
  char text[INET6_ADDRSTRLEN] = "";
  if (IsIpv4(gid)) {
    inet_ntop(AF_INET, gid.bytes.data() + sizeof(kMappedPrefix), text, sizeof(text));
  } else {
    inet_ntop(AF_INET6, gid.bytes.data(), text, sizeof(text));
  }
  return text;
}

Gid GidOf(const Address& address) {
  Gid gid;
  if (address.kind() == Address::Kind::kIpv4) {
    std::memcpy(gid.bytes.data(), kMappedPrefix, sizeof(kMappedPrefix));
    std::memcpy(gid.bytes.data() + sizeof(kMappedPrefix), address.ipv4().data(), 4);
  } else {
    gid.bytes = address.ipv6();
  }
  return gid;
}

absl::StatusOr<PortChoice> ChoosePort(absl::Span<const DeviceInfo> devices,
                                      const config::Rdma& settings, const Address& local) {
  const auto wanted = DevicesWanted(devices, settings);
  if (!wanted.ok()) return wanted.status();
  const auto ports = PortsWanted(*wanted, settings.port());
  if (!ports.ok()) return ports.status();

  std::optional<Candidate> found, down;
  const GidEntry* found_gid = nullptr;
  std::vector<std::string> names;  // of devices that would do
  for (const Candidate& port : *ports) {
    const GidEntry* gid = BestGid(*port.port, settings, local);
    // A port that is down may have lost its addresses.
    if (port.port->state != PortInfo::State::kActive) {
      if (!down && (gid != nullptr || port.port->gids.empty())) down = port;
      continue;
    }
    if (gid == nullptr) continue;
    if (names.empty() || names.back() != port.device->name) names.push_back(port.device->name);
    if (found) continue;
    found = port;
    found_gid = gid;
  }
  if (names.size() > 1) {
    return absl::FailedPreconditionError(absl::StrCat(
        "several RDMA devices would do: ", absl::StrJoin(names, ", "),
        "; name one by rdma.device, or open the port at an IP address of its interface"));
  }
  if (found && found_gid->index > kGidIndexMax) {
    return absl::NotFoundError(absl::StrCat("GID ", found_gid->index, " of ", found->Name(),
                                            " is beyond what verbs can name: 0 to ", kGidIndexMax));
  }
  if (found) {
    return PortChoice{found->device->name, found->device->is_software, found->port->number,
                      *found_gid};
  }
  if (down) return PortDown(*down);
  return NoGid(*ports, settings, local);
}

}  // namespace weft::rdma
