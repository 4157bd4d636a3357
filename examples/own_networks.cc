// SPDX-License-Identifier: Apache-2.0
#include "weft/examples/own_networks.h"

#include <fcntl.h>
#include <google/protobuf/text_format.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "weft/core/unique_fd.h"

namespace weft::examples {
namespace {

bool Write(const char* path, const std::string& text) {
  const UniqueFd fd(open(path, O_WRONLY | O_CLOEXEC));
  return fd && write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

absl::Status Unshare() {
  if (unshare(CLONE_NEWNET) == 0) return absl::OkStatus();
  const std::string uid = absl::StrCat("0 ", getuid(), " 1");
  const std::string gid = absl::StrCat("0 ", getgid(), " 1");
  if (unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 && Write("/proc/self/setgroups", "deny") &&
      Write("/proc/self/uid_map", uid) && Write("/proc/self/gid_map", gid)) {
    return absl::OkStatus();
  }
  return absl::ErrnoToStatus(errno, "no network namespace for this user");
}

config::Config FromText(const std::string& text) {
  config::Config config;
  if (!google::protobuf::TextFormat::ParseFromString(text, &config)) std::abort();
  return config;
}

// `transport` is its settings; weft's stack has `address`.
config::Config Stack(const std::string& transport, const std::string& address) {
  return FromText(absl::StrCat("transport { ", transport, " } netstack { addresses: '", address,
                               "/24' } rpc { listen: '", address,
                               ":7000' } security { plaintext { } }"));
}

}  // namespace

absl::Status EnterOwnNetwork() {
  if (absl::Status status = Unshare(); !status.ok()) return status;
  const char* const set_up =
      "PATH=$PATH:/usr/sbin:/sbin; exec >/dev/null 2>&1; ip link set lo up && "
      "ip link add weft0 type veth peer name weft1 && ip link set weft0 up && ip link set weft1 up";
  if (std::system(set_up) == 0) return absl::OkStatus();
  return absl::UnavailableError("cannot make a veth pair; is iproute2 installed?");
}

std::vector<OwnNetwork> OwnNetworks() {
  const std::string wire = absl::StrCat("/tmp/weft-quickstart-", getpid(), ".sock");
  const auto packet = [](const std::string& interface) {
    return absl::StrCat("name: 'linux' linux { packet { interface: '", interface, "' } }");
  };
  const auto afxdp = [](const std::string& interface) {
    return absl::StrCat("name: 'afxdp' afxdp { interface: '", interface, "' }");
  };
  const auto dpdk = [](const std::string& device) {
    return absl::StrCat("name: 'dpdk' dpdk { huge_pages: NEVER virtual_devices: '", device, "' }");
  };
  return {
      {"dpdk", "weft's stack on DPDK, virtio-user to vhost",
       Stack(dpdk("net_vhost0,iface=" + wire), "10.0.1.2"),
       Stack(dpdk("net_virtio_user0,path=" + wire), "10.0.1.1")},
      {"afxdp", "weft's stack on AF_XDP, over a veth pair", Stack(afxdp("weft0"), "10.0.2.2"),
       Stack(afxdp("weft1"), "10.0.2.1")},
      {"packet", "weft's stack on packet sockets, over a veth pair",
       Stack(packet("weft0"), "10.0.3.2"), Stack(packet("weft1"), "10.0.3.1")},
      {"tap", "weft's stack behind a TAP device, to the kernel's sockets",
       Stack("name: 'linux' linux { tap { interface: 'weft2' kernel_addresses: '10.0.4.1/24' } }",
             "10.0.4.2"),
       FromText("security { plaintext { } }")},
  };
}

}  // namespace weft::examples
