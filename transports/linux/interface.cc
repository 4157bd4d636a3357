// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/linux/interface.h"

#include <arpa/inet.h>
#include <linux/ethtool.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "weft/core/unique_fd.h"

namespace weft::linux_transport {
namespace {

absl::StatusCode Code(int error) {
  switch (error) {
    case EPERM:
    case EACCES:
      return absl::StatusCode::kPermissionDenied;
    case ENODEV:
    case ENXIO:
    case ENOENT:
      return absl::StatusCode::kNotFound;
    case EBUSY:
    case EEXIST:
      return absl::StatusCode::kAlreadyExists;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
      return absl::StatusCode::kResourceExhausted;
    case EINVAL:
      return absl::StatusCode::kInvalidArgument;
    default:
      return absl::StatusCode::kUnavailable;
  }
}

std::vector<std::string> Names() {
  std::vector<std::string> names;
  struct if_nameindex* const all = if_nameindex();
  if (all == nullptr) return names;
  for (const struct if_nameindex* one = all; one->if_index != 0; ++one)
    names.push_back(one->if_name);
  if_freenameindex(all);
  return names;
}

// Questions and orders about one interface, by ioctl.
class Control {
 public:
  explicit Control(const std::string& name)
      : fd_(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)), name_(name) {}

  bool Call(unsigned long request, ifreq* argument) const {
    std::memset(argument->ifr_name, 0, IFNAMSIZ);
    name_.copy(argument->ifr_name, IFNAMSIZ - 1);
    return ioctl(fd_.get(), request, argument) == 0;
  }

 private:
  UniqueFd fd_;
  const std::string name_;
};

absl::Status BadAddress(absl::string_view address) {
  return absl::InvalidArgumentError(absl::StrCat(
      "'", address, "' is no address with a prefix length, as 10.0.0.1/24 or fd00::1/64"));
}

struct AddressRequest {
  nlmsghdr header;
  ifaddrmsg message;
  // IFA_LOCAL and IFA_ADDRESS, the same for a broadcast network.
  uint8_t attributes[2 * RTA_LENGTH(16)];
};

absl::StatusOr<AddressRequest> NewAddress(int index, absl::string_view address) {
  const size_t slash = address.find('/');
  if (slash == absl::string_view::npos) return BadAddress(address);
  const std::string ip(address.substr(0, slash));
  AddressRequest request = {};
  uint8_t bytes[16];
  size_t size = 4;
  request.message.ifa_family = AF_INET;
  if (inet_pton(AF_INET, ip.c_str(), bytes) != 1) {
    if (inet_pton(AF_INET6, ip.c_str(), bytes) != 1) return BadAddress(address);
    size = 16;
    request.message.ifa_family = AF_INET6;
    request.message.ifa_flags = IFA_F_NODAD;
  }
  uint32_t prefix;
  if (!absl::SimpleAtoi(address.substr(slash + 1), &prefix) || prefix > 8 * size)
    return BadAddress(address);
  request.message.ifa_prefixlen = static_cast<uint8_t>(prefix);
  request.message.ifa_index = static_cast<uint32_t>(index);
  uint8_t* next = request.attributes;
  for (const unsigned short type : {IFA_LOCAL, IFA_ADDRESS}) {
    const rtattr attribute = {static_cast<unsigned short>(RTA_LENGTH(size)), type};
    std::memcpy(next, &attribute, sizeof(attribute));
    std::memcpy(next + RTA_LENGTH(0), bytes, size);
    next += RTA_LENGTH(size);
  }
  request.header.nlmsg_len =
      static_cast<uint32_t>(next - reinterpret_cast<uint8_t*>(&request.header));
  request.header.nlmsg_type = RTM_NEWADDR;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
  return request;
}

// Sends `request` to the kernel and returns the errno of its answer, or 0.
int Ask(const AddressRequest& request) {
  const UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!fd || send(fd.get(), &request, request.header.nlmsg_len, 0) < 0) return errno;
  struct {
    nlmsghdr header;
    nlmsgerr error;
    uint8_t more[1024];
  } answer = {};
  const ssize_t n = recv(fd.get(), &answer, sizeof(answer), 0);
  if (n < 0) return errno;
  if (n < static_cast<ssize_t>(NLMSG_LENGTH(sizeof(int)))) return EPROTO;
  return answer.header.nlmsg_type == NLMSG_ERROR ? -answer.error.error : EPROTO;
}

}  // namespace

absl::Status DeviceError(int error, absl::string_view what, absl::string_view capability) {
  std::string message = absl::StrCat("cannot ", what, ": ", std::strerror(error));
  if (error == EPERM || error == EACCES) {
    absl::StrAppend(&message, "; it needs ", capability, ": run as root, grant it with `setcap ",
                    capability, "+ep PROGRAM`, or try it in a namespace with `unshare -rn`");
  }
  return absl::Status(Code(error), message);
}

absl::StatusOr<Interface> FindInterface(const std::string& name) {
  const Control control(name);
  Interface found;
  found.name = name;
  ifreq request = {};
  const bool is_there = name.size() < IFNAMSIZ && control.Call(SIOCGIFINDEX, &request);
  if (!is_there && name.size() < IFNAMSIZ && errno != ENODEV) {
    return DeviceError(errno, absl::StrCat("ask for interface '", name, "'"), "");
  }
  if (!is_there) {
    return absl::NotFoundError(absl::StrCat("there is no interface '", name, "'; this machine has ",
                                            absl::StrJoin(Names(), ", ")));
  }
  found.index = request.ifr_ifindex;
  if (control.Call(SIOCGIFHWADDR, &request)) {
    found.ethernet = request.ifr_hwaddr.sa_family == ARPHRD_ETHER;
    std::memcpy(found.mac.data(), request.ifr_hwaddr.sa_data, found.mac.size());
  }
  if (control.Call(SIOCGIFMTU, &request)) found.mtu = static_cast<uint32_t>(request.ifr_mtu);
  if (control.Call(SIOCGIFFLAGS, &request)) found.up = (request.ifr_flags & IFF_UP) != 0;
  ethtool_drvinfo driver = {};
  driver.cmd = ETHTOOL_GDRVINFO;
  request.ifr_data = reinterpret_cast<char*>(&driver);
  if (control.Call(SIOCETHTOOL, &request)) found.driver = driver.driver;
  return found;
}

absl::Status SetMtu(const std::string& name, uint32_t mtu) {
  ifreq request = {};
  request.ifr_mtu = static_cast<int>(mtu);
  if (Control(name).Call(SIOCSIFMTU, &request)) return absl::OkStatus();
  return DeviceError(errno, absl::StrCat("set the MTU of '", name, "' to ", mtu), "cap_net_admin");
}

absl::Status BringUp(const std::string& name) {
  const Control control(name);
  ifreq request = {};
  if (control.Call(SIOCGIFFLAGS, &request)) {
    request.ifr_flags |= IFF_UP;
    if (control.Call(SIOCSIFFLAGS, &request)) return absl::OkStatus();
  }
  return DeviceError(errno, absl::StrCat("bring '", name, "' up"), "cap_net_admin");
}

absl::Status AddAddress(const Interface& interface, absl::string_view address) {
  const absl::StatusOr<AddressRequest> request = NewAddress(interface.index, address);
  if (!request.ok()) return request.status();
  const int error = Ask(*request);
  if (error == 0 || error == EEXIST) return absl::OkStatus();
  return DeviceError(error, absl::StrCat("give '", interface.name, "' the address ", address),
                     "cap_net_admin");
}

}  // namespace weft::linux_transport
