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

enum class Device { kTap, kPlainTap, kPacket, kAfxdp };

inline const char* NameOf(Device device) {
  switch (device) {
    case Device::kTap:
      return "tap";
    case Device::kPlainTap:
      return "plain_tap";
    case Device::kPacket:
      return "packet";
    case Device::kAfxdp:
      return "afxdp";
  }
  return "";
}

// Carries frames between a TAP device, whose other end is weft's, and another one of the kernel's.
class Wire {
 public:
  // Makes "far0" in `kernel`. `fault`: of what goes from there to the device `near` of `here`.
  absl::Status Open(const testnet::Namespace& here, const std::string& near,
                    const testnet::Namespace& kernel, const config::Fault& fault) {
    if (absl::Status status = here.Ip(absl::StrCat("link set ", near, " up")); !status.ok()) {
      return status;
    }
    config::Transport near_end;
    near_end.set_name("linux");
    near_end.mutable_linux()->mutable_packet()->set_interface(near);
    near_end.mutable_linux()->mutable_packet()->set_promiscuous(true);
    *near_end.add_decorators()->mutable_fault() = fault;
    absl::Status status = OpenEnd(near_end, &near_);
    const testnet::ScopedNamespace place(kernel);
    config::Transport far_end;
    far_end.set_name("linux");
    far_end.mutable_linux()->mutable_tap()->set_interface("far0");
    far_end.mutable_linux()->mutable_tap()->set_offload(false);
    status.Update(OpenEnd(far_end, &far_));
    return status;
  }

  void Carry() {
    Carry(*near_.port, *far_.port);
    Carry(*far_.port, *near_.port);
  }

 private:
  struct End {
    std::unique_ptr<Transport> transport;
    std::unique_ptr<FramePort> port;
  };

  static absl::Status OpenEnd(const config::Transport& config, End* end) {
    auto transport = OpenTransport(config);
    if (!transport.ok()) return transport.status();
    end->transport = *std::move(transport);
    auto port = end->transport->OpenFramePort({});
    if (port.ok()) end->port = *std::move(port);
    return port.status();
  }
  // What does not fit into the other device is lost.
  static void Carry(FramePort& from, FramePort& to) {
    Buffer burst[64];
    const size_t n = from.Receive(absl::MakeSpan(burst));
    for (size_t i = 0; i < n; ++i) burst[i].offload() = {};
    to.Send({burst, n});
  }

  End near_;
  End far_;
};

// 10.9.8.1 and fd09::1 are weft's, 10.9.8.2 and fd09::2 the kernel's. With a router, these are the
// router's, and the kernel that is talked to has 10.9.7.2 and fd07::2 behind it.
class KernelNetwork {
 public:
  struct Settings {
    Device device = Device::kTap;
    bool v4 = true;
    int workers = 1;
    config::Fault fault = {};  // of what weft sends
    config::Tcp tcp = {};
    config::Netstack netstack = {};  // addresses are added
    bool router = false;             // behind a TAP device
    // Of what the kernel sends: a wire is put between the two, at a TAP device; see Carry().
    config::Fault their_fault = {};
  };

  // An error is why this user cannot have such a network: skip the test with it.
  absl::Status Open(const Settings& settings) {
    v4_ = settings.v4;
    device_ = settings.device;
    router_ = settings.router;
    has_wire_ = settings.their_fault.ByteSizeLong() > 0;
    kernel_ = testnet::Namespace::Make();
    here_ = testnet::Namespace::Make();  // the thread is in this one now
    if (!kernel_.ok()) return kernel_.status();
    if (!here_.ok()) return here_.status();
    config::Transport config;
    config.set_name("linux");
    if (is_veth()) {
      const testnet::LinkOptions link = {.queues = settings.workers, .ipv6 = true};
      EXPECT_EQ(testnet::MakeVeth(*here_, "near0", *kernel_, "far0", link), absl::OkStatus());
      EXPECT_EQ(here_->Ip("addr flush dev near0"), absl::OkStatus());
    }
    if (device_ == Device::kPacket) {
      config.mutable_linux()->mutable_packet()->set_interface("near0");
    } else if (device_ == Device::kAfxdp) {
      // AF_XDP is not told that a checksum was left to a device.
      if (!kernel_->Run("ethtool -K far0 tx off").ok()) {
        return absl::UnavailableError("ethtool is not installed, or cannot turn off checksums");
      }
      config.set_name("afxdp");
      config.mutable_afxdp()->set_interface("near0");
    } else {
      config::Tap& tap = *config.mutable_linux()->mutable_tap();
      tap.set_offload(device_ == Device::kTap && !has_wire_);
      tap.set_interface("near%d");
    }
    if (settings.fault.ByteSizeLong() > 0) {
      *config.add_decorators()->mutable_fault() = settings.fault;
    }
    config::Netstack netstack = settings.netstack;
    netstack.add_addresses("10.9.8.1/24");
    netstack.add_addresses("fd09::1/64");
    netstack.set_link_local(false);
    if (router_) {
      for (const auto& [network, gateway] :
           {std::pair{"10.9.7.0/24", "10.9.8.2"}, {"fd07::/64", "fd09::2"}}) {
        config::Route& route = *netstack.add_routes();
        route.set_destination(network);
        route.set_gateway(gateway);
      }
    }
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
    if (has_wire_) {
      absl::Status status =
          wire_.Open(*here_, (*opened)->device().device_name(), *kernel_, settings.their_fault);
      if (!status.ok()) return status;
    }
    const std::string name = is_veth() || has_wire_ ? "far0" : (*opened)->device().device_name();
    for (const char* ip : {"10.9.8.2/24", "fd09::2/64"}) {
      EXPECT_EQ(next().AddAddress(name, ip), absl::OkStatus());
    }
    EXPECT_EQ(next().Ip(absl::StrCat("link set ", name, " up")), absl::OkStatus());
    EXPECT_EQ(testnet::WaitForLink(next(), name, true), absl::OkStatus());
    // Threads have stacks of their own; that of a TAP device would be another device.
    if (!is_veth()) keep_ = *std::move(opened);
    return router_ ? AddRouter() : absl::OkStatus();
  }

  // Where there are faults of what the kernel sends, nothing arrives but by this.
  void Carry() {
    if (has_wire_) wire_.Carry();
  }

  // A setting of the kernel's that is talked to: those of tcp(7), for IPv6 too.
  testnet::CommandResult Set(const std::string& name, const std::string& value) const {
    return there().Run(absl::StrCat("echo '", value, "' > /proc/sys/net/ipv4/", name));
  }

  // As if the NIC were pulled out.
  absl::Status RemoveDevice() {
    return here_->Ip(absl::StrCat(
        "link delete ", transport_->netstack().StackOfThisThread()->device().device_name()));
  }

  TcpTransport& transport() { return *transport_; }
  // Where the kernel's end is.
  const testnet::Namespace& there() const { return router_ ? *kernel_ : next(); }
  // Where the other end of weft's device is: there(), or the router, which has "near1" towards it.
  const testnet::Namespace& next() const { return is_veth() || has_wire_ ? *kernel_ : *here_; }
  Address ours(uint16_t port) const {
    return *Address::Parse(absl::StrCat(v4_ ? "10.9.8.1:" : "[fd09::1]:", port));
  }
  Address theirs(uint16_t port) const {
    const char* const ip =
        router_ ? (v4_ ? "10.9.7.2:" : "[fd07::2]:") : (v4_ ? "10.9.8.2:" : "[fd09::2]:");
    return *Address::Parse(absl::StrCat(ip, port));
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
  bool is_veth() const { return device_ == Device::kPacket || device_ == Device::kAfxdp; }

  absl::Status AddRouter() {
    absl::Status status = testnet::MakeVeth(*here_, "near1", *kernel_, "far1", {.ipv6 = true});
    for (const auto& [place, commands] :
         {std::pair{
              &*here_,
              "addr add 10.9.7.1/24 dev near1 && ip addr add fd07::1/64 dev near1 nodad && "
              "ip addr add fe80::1/64 dev near1 nodad && "  // as who forwards needs to solicit
              "echo 1 > /proc/sys/net/ipv4/ip_forward && "
              "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding"},
          {&*kernel_,
           "addr add 10.9.7.2/24 dev far1 && ip addr add fd07::2/64 dev far1 nodad && "
           "ip route add default via 10.9.7.1 && ip -6 route add default via fd07::1"}}) {
      if (status.ok()) status = place->Ip(commands);
    }
    return status;
  }

  bool v4_ = true;
  bool router_ = false;
  bool has_wire_ = false;
  Wire wire_;
  Device device_ = Device::kTap;
  absl::StatusOr<testnet::Namespace> kernel_;
  absl::StatusOr<testnet::Namespace> here_;
  std::unique_ptr<TcpTransport> transport_;
  std::shared_ptr<netstack::Stack> keep_;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_NETWORK_FIXTURE_H_
