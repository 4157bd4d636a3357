// SPDX-License-Identifier: Apache-2.0
//
// What the tests of TCP against the kernel's share: two namespaces with a device between them, a
// transport of weft's on this side, and sockets on the other.
#ifndef WEFT_TCP_NETWORK_FIXTURE_H_
#define WEFT_TCP_NETWORK_FIXTURE_H_

#include <sys/socket.h>

#include <cerrno>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/config/config.h"
#include "weft/core/unique_fd.h"
#include "weft/netstack/netstack_transport.h"
#include "weft/tcp/tcp_transport.h"
#include "weft/tools/testnet/testnet.h"
#include "weft/transports/decorators/open.h"
#include "weft/transports/linux/socket.h"

namespace weft::tcp {

enum class Device { kTap, kPlainTap, kPacket };

inline const char* NameOf(Device device) {
  return device == Device::kTap ? "tap" : device == Device::kPlainTap ? "plain_tap" : "packet";
}

// 10.9.8.1 and fd09::1 are weft's, 10.9.8.2 and fd09::2 the kernel's.
class KernelNetwork {
 public:
  struct Settings {
    Device device = Device::kTap;
    bool v4 = true;
    int workers = 1;
    config::Fault fault = {};  // of what weft sends and receives
    config::Tcp tcp = {};
    config::Netstack netstack = {};  // addresses are added
  };

  // An error is why this user cannot have such a network: skip the test with it.
  absl::Status Open(const Settings& settings) {
    v4_ = settings.v4;
    device_ = settings.device;
    kernel_ = testnet::Namespace::Make();
    here_ = testnet::Namespace::Make();  // the thread is in this one now
    if (!kernel_.ok()) return kernel_.status();
    if (!here_.ok()) return here_.status();
    config::Transport config;
    config.set_name("linux");
    if (device_ == Device::kPacket) {
      const testnet::LinkOptions link = {.queues = settings.workers, .ipv6 = true};
      EXPECT_EQ(testnet::MakeVeth(*here_, "near0", *kernel_, "far0", link), absl::OkStatus());
      EXPECT_EQ(here_->Ip("addr flush dev near0"), absl::OkStatus());
      config.mutable_linux()->mutable_packet()->set_interface("near0");
    } else {
      config.mutable_linux()->mutable_tap()->set_offload(device_ == Device::kTap);
    }
    if (settings.fault.ByteSizeLong() > 0) {
      *config.add_decorators()->mutable_fault() = settings.fault;
    }
    config::Netstack netstack = settings.netstack;
    netstack.add_addresses("10.9.8.1/24");
    netstack.add_addresses("fd09::1/64");
    netstack.set_link_local(false);
    auto frames = OpenTransport(config);
    if (!frames.ok()) return frames.status();
    auto stack = netstack::NetstackTransport::Open(*std::move(frames), netstack, settings.workers);
    if (!stack.ok()) return stack.status();
    auto transport = TcpTransport::Open(*std::move(stack), settings.tcp);
    if (!transport.ok()) return transport.status();
    transport_ = *std::move(transport);
    // A TAP device is there once it is open.
    auto opened = transport_->netstack().OpenStack();
    if (!opened.ok()) return opened.status();
    const std::string name =
        device_ == Device::kPacket ? "far0" : (*opened)->device().device_name();
    for (const char* ip : {"10.9.8.2/24", "fd09::2/64"}) {
      EXPECT_EQ(there().Ip(absl::StrCat("addr add ", ip, " dev ", name)), absl::OkStatus());
    }
    EXPECT_EQ(there().Ip(absl::StrCat("link set ", name, " up")), absl::OkStatus());
    EXPECT_EQ(testnet::WaitForLink(there(), name, true), absl::OkStatus());
    // Threads have stacks of their own; that of a TAP device would be another device.
    if (device_ != Device::kPacket) keep_ = *std::move(opened);
    return absl::OkStatus();
  }

  // As if the NIC were pulled out.
  absl::Status RemoveDevice() {
    return here_->Ip(absl::StrCat(
        "link delete ", transport_->netstack().StackOfThisThread()->device().device_name()));
  }

  TcpTransport& transport() { return *transport_; }
  // Where the kernel's end is.
  const testnet::Namespace& there() const { return device_ == Device::kPacket ? *kernel_ : *here_; }
  Address ours(uint16_t port) const {
    return *Address::Parse(absl::StrCat(v4_ ? "10.9.8.1:" : "[fd09::1]:", port));
  }
  Address theirs(uint16_t port) const {
    return *Address::Parse(absl::StrCat(v4_ ? "10.9.8.2:" : "[fd09::2]:", port));
  }

  UniqueFd Socket() const {
    const testnet::ScopedNamespace place(there());
    return UniqueFd(
        socket(v4_ ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  }
  // Begins to connect to weft.
  UniqueFd Connecting(uint16_t port) const {
    UniqueFd fd = Socket();
    const auto name = linux_transport::ToSocketAddress(ours(port));
    EXPECT_TRUE(connect(fd.get(), &name.any, name.length) == 0 || errno == EINPROGRESS);
    return fd;
  }
  // A listening one, and its port.
  std::pair<UniqueFd, uint16_t> Listener() const {
    UniqueFd fd = Socket();
    const auto any = linux_transport::ToSocketAddress(theirs(0));
    EXPECT_EQ(bind(fd.get(), &any.any, any.length), 0);
    EXPECT_EQ(listen(fd.get(), 64), 0);
    const auto name = linux_transport::BoundAddress(fd).value();
    return {std::move(fd), linux_transport::ToAddress(name).port()};
  }

 private:
  bool v4_ = true;
  Device device_ = Device::kTap;
  absl::StatusOr<testnet::Namespace> kernel_;
  absl::StatusOr<testnet::Namespace> here_;
  std::unique_ptr<TcpTransport> transport_;
  std::shared_ptr<netstack::Stack> keep_;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_NETWORK_FIXTURE_H_
