// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/afxdp/xdp_program.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/transports/afxdp/afxdp_program_bytes.h"
#include "weft/transports/afxdp/libbpf_quiet.h"

namespace weft::afxdp {
namespace {

constexpr char kPermissions[] =
    "AF_XDP needs the capabilities CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF on the machine itself, "
    "not in a user namespace: run as root, or `setcap cap_net_admin,cap_net_raw,cap_bpf+ep "
    "PROGRAM`";

// As the program makes them.
uint64_t MacKey(const MacAddress& mac) {
  uint64_t key = 0;
  std::memcpy(&key, mac.data(), mac.size());
  return key;
}

// The program `id`'s name; empty if it cannot be had. `fd`: of the program.
std::string ProgramName(uint32_t id, UniqueFd* fd) {
  *fd = UniqueFd(bpf_prog_get_fd_by_id(id));
  bpf_prog_info info = {};
  __u32 size = sizeof(info);
  if (!*fd || bpf_obj_get_info_by_fd(fd->get(), &info, &size) != 0) return "";
  return info.name;
}

// Makes the keys of `map` those of `wanted`, with their values; `applied` are those it has.
template <typename Key, typename Value>
bool Replace(int map, const std::vector<std::pair<Key, Value>>& wanted, std::vector<Key>* applied) {
  const auto equals = [](const Key& a) {
    return [&a](const Key& b) { return std::memcmp(&a, &b, sizeof(Key)) == 0; };
  };
  // What goes, goes first: there may be no room for both.
  for (const Key& old : *applied) {
    const bool stays = std::any_of(wanted.begin(), wanted.end(),
                                   [&](const auto& entry) { return equals(old)(entry.first); });
    if (!stays) bpf_map_delete_elem(map, &old);
  }
  applied->clear();
  for (const auto& [key, value] : wanted) {
    const __u32 stored = value;
    if (bpf_map_update_elem(map, &key, &stored, BPF_ANY) != 0) return false;
    applied->push_back(key);
  }
  return true;
}

}  // namespace

absl::StatusOr<std::unique_ptr<XdpProgram>> XdpProgram::Attach(const XdpProgramOptions& options) {
  absl::StatusOr<KernelAddresses> kernel = KernelAddresses::Open(options.interface.index);
  if (!kernel.ok()) return kernel.status();
  std::unique_ptr<XdpProgram> program(new XdpProgram(options, *std::move(kernel)));
  if (absl::Status status = program->Load(); !status.ok()) return status;
  // Told before it sees the first frame.
  if (absl::Status status = program->Apply(); !status.ok()) return status;
  if (absl::Status status = program->AttachLink(); !status.ok()) return status;
  return program;
}

XdpProgram::~XdpProgram() {
  link_.Reset();
  if (object_ != nullptr) bpf_object__close(object_);
}

absl::Status XdpProgram::Load() {
  const LibbpfQuiet quiet;
  object_ = bpf_object__open_mem(kProgramBytes, kProgramBytesSize, nullptr);
  bpf_program* program =
      object_ == nullptr ? nullptr : bpf_object__find_program_by_name(object_, AFXDP_PROGRAM_NAME);
  bpf_map* sockets =
      object_ == nullptr ? nullptr : bpf_object__find_map_by_name(object_, "sockets");
  if (program == nullptr || sockets == nullptr) {
    return absl::InternalError(
        absl::StrCat("libbpf cannot read weft's XDP program: ", std::strerror(errno)));
  }
  if (bpf_map__set_max_entries(sockets, options_.queues) != 0) {
    return absl::ErrnoToStatus(errno, "cannot size the map of sockets");
  }
  if (options_.multi_buffer) bpf_program__set_flags(program, BPF_F_XDP_HAS_FRAGS);
  if (const int error = -bpf_object__load(object_); error != 0) {
    if (error == EPERM) return absl::PermissionDeniedError(kPermissions);
    if (options_.multi_buffer) {
      return absl::UnimplementedError(absl::StrCat(
          "this kernel has no XDP with frames in several pieces (Linux 5.18): set the MTU of "
          "interface '",
          options_.interface.name, "', now ", options_.interface.mtu, ", to 1500"));
    }
    return absl::UnimplementedError(
        absl::StrCat("this kernel does not take weft's XDP program: ", std::strerror(error)));
  }
  program_fd_ = bpf_program__fd(program);
  return absl::OkStatus();
}

absl::Status XdpProgram::AttachLink() {
  const LibbpfQuiet quiet;
  const std::string& name = options_.interface.name;
  int error = 0;
  for (const bool native : {true, false}) {
    if (options_.mode == (native ? config::Afxdp::GENERIC : config::Afxdp::NATIVE)) continue;
    bpf_link_create_opts link_options = {};
    link_options.sz = sizeof(link_options);
    link_options.flags = native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
    const auto attach = [&] {
      link_ =
          UniqueFd(bpf_link_create(program_fd_, options_.interface.index, BPF_XDP, &link_options));
      error = link_ ? 0 : errno;
    };
    attach();
    if (error == EBUSY || error == EEXIST) {
      if (absl::Status status = ExplainOccupied(); !status.ok()) return status;
      attach();
    }
    if (error == 0) {
      is_native_ = native;
      return absl::OkStatus();
    }
    if (error == EPERM) return absl::PermissionDeniedError(kPermissions);
  }
  if (error == EINVAL) {
    return absl::UnimplementedError(
        absl::StrCat("this kernel cannot attach XDP programs by links (Linux 5.9)"));
  }
  if (options_.mode == config::Afxdp::NATIVE) {
    return absl::UnimplementedError(
        absl::StrCat("the driver of interface '", name,
                     "' has no native XDP at its present settings (MTU ", options_.interface.mtu,
                     "): ", std::strerror(error), "; set afxdp.mode to AUTO or GENERIC"));
  }
  return absl::ErrnoToStatus(
      error, absl::StrCat("cannot attach an XDP program to interface '", name, "'"));
}

// The interface has a program. OK if it was a stale one of ours, which is gone now.
absl::Status XdpProgram::ExplainOccupied() const {
  const std::string& name = options_.interface.name;
  bpf_xdp_query_opts query = {};
  query.sz = sizeof(query);
  if (bpf_xdp_query(options_.interface.index, 0, &query) != 0) {
    return absl::ErrnoToStatus(errno,
                               absl::StrCat("cannot ask for the XDP program of '", name, "'"));
  }
  const struct {
    uint32_t id;
    uint32_t flags;
    const char* mode;
    const char* option;  // of `ip link set`
  } places[] = {{query.drv_prog_id, XDP_FLAGS_DRV_MODE, "native", "xdpdrv"},
                {query.skb_prog_id, XDP_FLAGS_SKB_MODE, "generic", "xdpgeneric"},
                {query.hw_prog_id, XDP_FLAGS_HW_MODE, "offloaded", "xdpoffload"}};
  for (const auto& place : places) {
    if (place.id == 0) continue;
    UniqueFd fd;
    const std::string program = ProgramName(place.id, &fd);
    if (program == AFXDP_PROGRAM_NAME) {
      // We attach by links only, and a link cannot be taken off by others. So one that lets itself
      // be taken off was left by somebody who is gone.
      bpf_xdp_attach_opts only_this = {};
      only_this.sz = sizeof(only_this);
      only_this.old_prog_fd = fd.get();
      if (bpf_xdp_detach(options_.interface.index, place.flags, &only_this) == 0) continue;
      return absl::AlreadyExistsError(
          absl::StrCat("another program that uses weft has interface '", name,
                       "'; its queues can be shared by the workers of one program only"));
    }
    return absl::AlreadyExistsError(absl::StrCat(
        "interface '", name, "' has an XDP program already, \"", program, "\", id ", place.id, ", ",
        place.mode, ": end the program that it belongs to, or remove it with `ip link set dev ",
        name, " ", place.option, " off`"));
  }
  return absl::OkStatus();
}

int XdpProgram::FindMap(const char* name) const {
  return bpf_object__find_map_fd_by_name(object_, name);
}

absl::Status XdpProgram::AddSocket(uint32_t queue, int fd) {
  if (bpf_map_update_elem(FindMap("sockets"), &queue, &fd, BPF_ANY) == 0) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot direct queue ", queue, " of interface '",
                                                 options_.interface.name, "' to its socket"));
}

absl::Status XdpProgram::SetFilter(uint32_t queue, absl::Span<const Address> addresses,
                                   absl::Span<const MacAddress> groups) {
  for (const Address& address : addresses) {
    if (absl::Status s = CheckHostAddress(address, "filter"); !s.ok()) return s;
  }
  const std::lock_guard lock(mutex_);
  wanted_[queue] = {{addresses.begin(), addresses.end()}, {groups.begin(), groups.end()}};
  return Apply();
}

void XdpProgram::RemoveQueue(uint32_t queue) {
  const std::lock_guard lock(mutex_);
  if (wanted_.erase(queue) == 0) return;
  // What the others want has been told to them.
  Apply().IgnoreError();
}

absl::Status XdpProgram::Apply() {
  std::vector<Address> addresses = options_.filter.addresses;
  const bool is_configured = !addresses.empty();
  bool has_groups = false;
  for (const auto& [queue, one] : wanted_) {
    has_groups |= !one.groups.empty();
    if (is_configured) continue;
    for (const Address& address : one.addresses) {
      if (std::find(addresses.begin(), addresses.end(), address) == addresses.end()) {
        addresses.push_back(address);
      }
    }
  }
  const bool was_told = !addresses.empty() || has_groups;

  absl::StatusOr<std::vector<Address>> kernel = kernel_.Read();
  if (!kernel.ok()) return kernel.status();
  const bool restrict_ports = options_.filter.settings.restrict_ports != 0;
  std::vector<OwnedAddress> taken;
  const absl::Status refused =
      ShareWithKernel(addresses, *kernel, restrict_ports, options_.interface.name, &taken);
  if (absl::Status status = ApplyAddresses(taken); !status.ok()) return status;
  if (absl::Status status = ApplyGroups(); !status.ok()) return status;

  // Whoever names ports means little; so it is nothing rather than everything until the addresses
  // are known.
  AfxdpSettings settings = options_.filter.settings;
  settings.mac = MacKey(options_.interface.mac);
  settings.take_all = !was_told && !restrict_ports;
  if (!taken.empty()) {
    settings.first_address = AddressKey(taken[0].address);
    settings.first_owner = taken[0].owner;
  }
  const __u32 zero = 0;
  if (bpf_map_update_elem(FindMap("settings"), &zero, &settings, BPF_ANY) != 0) {
    return absl::ErrnoToStatus(errno, "cannot set up the XDP program");
  }
  return refused;
}

absl::Status XdpProgram::ApplyAddresses(absl::Span<const OwnedAddress> addresses) {
  std::vector<std::pair<AfxdpAddress, AfxdpOwner>> entries;
  for (const OwnedAddress& owned : addresses) {
    entries.emplace_back(AddressKey(owned.address), owned.owner);
  }
  if (entries.size() <= AFXDP_ADDRESSES_MAX &&
      Replace(FindMap("addresses"), entries, &applied_addresses_)) {
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("an interface can be asked for ", AFXDP_ADDRESSES_MAX, " addresses at most"));
}

absl::Status XdpProgram::ApplyGroups() {
  std::vector<std::pair<uint64_t, int>> entries;
  for (const auto& [queue, one] : wanted_) {
    for (const MacAddress& group : one.groups) entries.emplace_back(MacKey(group), 1);
  }
  std::sort(entries.begin(), entries.end());
  entries.erase(std::unique(entries.begin(), entries.end()), entries.end());
  if (entries.size() <= AFXDP_GROUPS_MAX && Replace(FindMap("groups"), entries, &applied_groups_)) {
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("an interface can be asked for ", AFXDP_GROUPS_MAX, " groups at most"));
}

absl::Status CheckPermissions() {
  const UniqueFd socket(::socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!socket && errno == EAFNOSUPPORT) {
    return absl::UnavailableError("this kernel has no AF_XDP (CONFIG_XDP_SOCKETS, Linux 5.9)");
  }
  if (!socket) return absl::PermissionDeniedError(kPermissions);
  const UniqueFd map(bpf_map_create(BPF_MAP_TYPE_XSKMAP, "weft_probe", 4, 4, 1, nullptr));
  if (!map) return absl::PermissionDeniedError(kPermissions);
  return absl::OkStatus();
}

}  // namespace weft::afxdp
