// SPDX-License-Identifier: Apache-2.0
#include "weft/tools/testnet/testnet.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace weft::testnet {
namespace {

constexpr absl::Duration kLinkTimeout = absl::Seconds(20);

UniqueFd OpenNamespace() {
  return UniqueFd(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
}

bool Write(const char* path, const std::string& text) {
  const UniqueFd fd(open(path, O_WRONLY | O_CLOEXEC));
  return fd && write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

absl::Status CannotMake(const std::string& what) {
  return absl::UnavailableError(absl::StrCat(
      "cannot make network namespaces: ", what, ": ", std::strerror(errno),
      "; run as root, or where users may make user namespaces, before any thread is started"));
}

// Root in a user namespace of our own: without an entry in its map, programs would lose all rights.
absl::Status EnterUserNamespace() {
  const uid_t uid = getuid();
  const gid_t gid = getgid();
  if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return CannotMake("unshare");
  if (!Write("/proc/self/setgroups", "deny") ||
      !Write("/proc/self/uid_map", absl::StrCat("0 ", uid, " 1")) ||
      !Write("/proc/self/gid_map", absl::StrCat("0 ", gid, " 1"))) {
    return CannotMake("map of users");
  }
  return absl::OkStatus();
}

// What new devices begin with. Kernels without IPv6 have none of it.
void SilenceIpv6() {
  for (const auto& [name, value] :
       {std::pair{"addr_gen_mode", "1"}, {"accept_dad", "0"}, {"accept_ra", "0"}}) {
    Write(absl::StrCat("/proc/sys/net/ipv6/conf/default/", name).c_str(), value);
  }
}

std::string Ipv6Setting(const std::string& device, const LinkOptions& options) {
  if (options.ipv6) return "true";
  const std::string file = absl::StrCat("/proc/sys/net/ipv6/conf/", device, "/disable_ipv6");
  return absl::StrCat("{ test ! -e ", file, " || echo 1 > ", file, "; }");
}

absl::Status ToStatus(const std::string& command, const CommandResult& result) {
  if (result.ok()) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("`", command, "` has failed (", result.status, "): ", result.output));
}

absl::Status Shell(const Namespace& place, const std::string& command) {
  return ToStatus(command, place.Run(command));
}

}  // namespace

absl::StatusOr<Namespace> Namespace::Make() {
  if (unshare(CLONE_NEWNET) != 0) {
    if (errno != EPERM) return CannotMake("unshare");
    if (absl::Status status = EnterUserNamespace(); !status.ok()) return status;
  }
  Namespace made(OpenNamespace());
  if (!made.fd_) return CannotMake("/proc/thread-self/ns/net");
  SilenceIpv6();
  if (absl::Status status = made.Ip("link set lo up"); !status.ok()) return status;
  return made;
}

absl::Status Namespace::Enter() const {
  if (setns(fd_.get(), CLONE_NEWNET) == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("setns: ", std::strerror(errno)));
}

CommandResult Namespace::Run(const std::string& command, absl::Duration timeout) const {
  return Start(command).Wait(timeout);
}

absl::Status Namespace::Ip(const std::string& arguments) const {
  return Shell(*this, absl::StrCat("ip ", arguments));
}

absl::Status Namespace::AddAddress(const std::string& device, const std::string& address) const {
  const bool is_ipv6 = address.find(':') != std::string::npos;
  return Ip(absl::StrCat("addr add ", address, " dev ", device, is_ipv6 ? " nodad" : ""));
}

std::string Namespace::path() const { return absl::StrCat("/proc/", getpid(), "/fd/", fd_.get()); }

ScopedNamespace::ScopedNamespace(const Namespace& there) : before_(OpenNamespace()) {
  (void)there.Enter();
}

ScopedNamespace::~ScopedNamespace() { setns(before_.get(), CLONE_NEWNET); }

absl::Status MakeVeth(const Namespace& a, const std::string& name_a, const Namespace& b,
                      const std::string& name_b, const LinkOptions& options) {
  const std::string properties = absl::StrCat("mtu ", options.mtu, " numtxqueues ", options.queues,
                                              " numrxqueues ", options.queues);
  const auto up = [&](const std::string& device) {
    return absl::StrCat(Ipv6Setting(device, options), " && ip link set ", device, " up");
  };
  absl::Status status =
      Shell(a, absl::StrCat("ip link add name ", name_a, " ", properties, " type veth peer name ",
                            name_b, " ", properties, " netns ", b.path(), " && ", up(name_a)));
  if (status.ok()) status = Shell(b, up(name_b));
  if (status.ok()) status = WaitForLink(a, name_a, true);
  if (status.ok()) status = WaitForLink(b, name_b, true);
  return status;
}

absl::Status MakeSwitch(const Namespace& place, const std::string& name,
                        const std::vector<std::string>& ends, const LinkOptions& options) {
  absl::Status status =
      Shell(place, absl::StrCat("ip link add name ", name, " mtu ", options.mtu,
                                " type bridge forward_delay 0 mcast_snooping 0 && ",
                                Ipv6Setting(name, LinkOptions()), " && ip link set ", name, " up"));
  for (const std::string& end : ends) {
    const std::string port = absl::StrCat(end, "-p");
    if (status.ok()) status = MakeVeth(place, end, place, port, options);
    if (status.ok()) status = AddToSwitch(place, name, port);
  }
  return status;
}

absl::Status AddToSwitch(const Namespace& place, const std::string& name,
                         const std::string& device) {
  return Shell(place, absl::StrCat(Ipv6Setting(device, LinkOptions()), " && ip link set ", device,
                                   " master ", name, " up"));
}

absl::Status WaitForLink(const Namespace& place, const std::string& device, bool up) {
  const ScopedNamespace there(place);
  const UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  for (const absl::Time end = absl::Now() + kLinkTimeout; absl::Now() < end;) {
    ifreq request = {};
    device.copy(request.ifr_name, IFNAMSIZ - 1);
    if (ioctl(fd.get(), SIOCGIFFLAGS, &request) != 0) {
      return absl::NotFoundError(absl::StrCat(device, ": ", std::strerror(errno)));
    }
    constexpr int kUp = IFF_UP | IFF_RUNNING;
    if (((request.ifr_flags & kUp) == kUp) == up) return absl::OkStatus();
    absl::SleepFor(absl::Milliseconds(1));
  }
  return absl::DeadlineExceededError(absl::StrCat(device, " has not come ", up ? "up" : "down"));
}

}  // namespace weft::testnet
