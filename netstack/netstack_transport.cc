// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/netstack_transport.h"

#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/core/clock.h"
#include "weft/netstack/udp_port.h"
#include "weft/netstack/wire/udp.h"
#include "weft/transports/registry.h"

namespace weft::netstack {
namespace {

// Ethernet with a tag, IPv6 and UDP.
constexpr size_t kHeadersMax =
    kEthernetHeaderBytes + kVlanTagBytes + kIpv6HeaderBytes + kUdpHeaderBytes;

uint64_t Secret() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

bool SpeaksIpv6(const StackOptions& options) {
  return std::any_of(options.addresses.begin(), options.addresses.end(),
                     [](const IpPrefix& own) { return own.address.is_v6(); }) ||
         options.addresses.empty();
}

Capabilities Offered(const Capabilities& frames, const StackOptions& options) {
  Capabilities offered = frames;
  offered.gather = false;
  offered.frames = false;
  offered.max_frame_bytes = 0;
  offered.streams = false;
  offered.datagrams = true;
  offered.reliable = false;
  offered.ordered = false;
  offered.keeps_foreign_source = true;
  offered.headroom_bytes = frames.headroom_bytes + kHeadersMax;
  const size_t device_mtu =
      std::min(frames.max_frame_bytes - EthernetHeaderBytes(options.vlan), kIpPacketBytesMax);
  const size_t mtu = options.mtu == 0 ? device_mtu : std::min(options.mtu, device_mtu);
  const size_t ip_bytes = SpeaksIpv6(options) ? kIpv6HeaderBytes : kIpv4HeaderBytes;
  offered.max_payload_bytes =
      std::max(options.datagram_bytes_max, mtu - ip_bytes - kUdpHeaderBytes);
  return offered;
}

absl::StatusOr<std::unique_ptr<Transport>> OpenTap(const StackOptions& options) {
  if (options.exception_tap.empty()) return nullptr;
  config::Transport tap;
  tap.set_name("linux");
  tap.mutable_linux()->mutable_tap()->set_interface(options.exception_tap);
  // Its frames go out on the NIC as they are.
  tap.mutable_linux()->mutable_tap()->set_offload(false);
  return OpenPlainTransport(tap);
}

// The kernel's end of a TAP device must have the address that frames for it are sent to.
absl::Status SetMac(const std::string& interface, const MacAddress& mac) {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request = {};
  std::strncpy(request.ifr_name, interface.c_str(), IFNAMSIZ - 1);
  request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  std::memcpy(request.ifr_hwaddr.sa_data, mac.data(), mac.size());
  if (socket && ioctl(socket.get(), SIOCSIFHWADDR, &request) == 0) return absl::OkStatus();
  return absl::ErrnoToStatus(
      errno, absl::StrCat("cannot give ", interface, " the address ", MacToString(mac)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<NetstackTransport>> NetstackTransport::Open(
    std::unique_ptr<Transport> frames, const config::Netstack& config, int workers) {
  if (!frames->capabilities().frames) {
    return absl::FailedPreconditionError(absl::StrCat(
        "a netstack needs frames, and transport '", frames->name(), "' has only ",
        ContractNames(frames->capabilities()),
        "; remove the netstack section, or choose dpdk, afxdp, or linux with packet or tap"));
  }
  auto options = StackOptions::From(config);
  if (!options.ok()) return options.status();
  auto kernel = OpenTap(*options);
  if (!kernel.ok()) return kernel.status();
  return std::unique_ptr<NetstackTransport>(
      new NetstackTransport(std::move(frames), *std::move(kernel), *std::move(options), workers));
}

NetstackTransport::NetstackTransport(std::unique_ptr<Transport> frames,
                                     std::unique_ptr<Transport> kernel, StackOptions options,
                                     int workers)
    : frames_(std::move(frames)),
      kernel_(std::move(kernel)),
      options_(std::move(options)),
      siblings_(std::make_shared<Siblings>(workers)),
      capabilities_(Offered(frames_->capabilities(), options_)),
      slots_(static_cast<size_t>(workers)) {}

absl::StatusOr<std::unique_ptr<DatagramPort>> NetstackTransport::OpenDatagramPort(
    const PortOptions& options) {
  if (options.queues < 1 || options.queue < 0 || options.queue >= options.queues) {
    return absl::InvalidArgumentError(
        absl::StrCat("queue ", options.queue, " of ", options.queues, " does not exist"));
  }
  auto stack = OpenStack();
  if (!stack.ok()) return stack.status();
  return UdpPort::Open(*std::move(stack), options.local, options.queues > 1, capabilities_);
}

std::shared_ptr<Stack> NetstackTransport::StackOfThisThread() {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const Slot& slot : slots_) {
    if (slot.owner->load(std::memory_order_relaxed) == internal::ThreadToken()) {
      return slot.stack.lock();
    }
  }
  return nullptr;
}

absl::StatusOr<std::shared_ptr<Stack>> NetstackTransport::OpenStack() {
  if (auto stack = StackOfThisThread(); stack != nullptr) return stack;
  const std::lock_guard<std::mutex> lock(mutex_);
  for (size_t queue = 0; queue < slots_.size(); ++queue) {
    Slot& slot = slots_[queue];
    if (slot.owner->load(std::memory_order_acquire) != nullptr) continue;
    auto stack = OpenStackAt(static_cast<int>(queue));
    if (stack.ok()) slot.stack = *stack;
    return stack;
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("the network stack is opened for ", slots_.size(),
                   slots_.size() == 1 ? " thread, and another" : " threads, and all",
                   " uses it; raise host.workers"));
}

absl::StatusOr<std::shared_ptr<Stack>> NetstackTransport::OpenStackAt(int queue) {
  // What is handed to the kernel has to fit its device.
  auto device = frames_->OpenFramePort(
      {.queue = queue, .queues = siblings_->count(), .joined_segments = kernel_ == nullptr});
  if (!device.ok()) return device.status();
  auto exception = OpenException(queue, (*device)->mac());
  if (!exception.ok()) return exception.status();
  VirtualTime* const time = frames_->virtual_time();
  const auto& owner = slots_[static_cast<size_t>(queue)].owner;
  owner->store(internal::ThreadToken(), std::memory_order_relaxed);
  Stack::World world = {
      .clock = time != nullptr ? static_cast<const Clock*>(time) : &RealClock(),
      .timers = time != nullptr ? &time->timers() : nullptr,
      .siblings = siblings_,
      .queue = queue,
      .owner = owner,
      .secret = time != nullptr ? 0 : Secret(),
  };
  return Stack::Open(options_, std::move(world), *std::move(device), *std::move(exception));
}

absl::StatusOr<std::unique_ptr<FramePort>> NetstackTransport::OpenException(int queue,
                                                                            const MacAddress& mac) {
  if (kernel_ == nullptr) return nullptr;
  auto port = kernel_->OpenFramePort({.queue = queue, .queues = siblings_->count()});
  if (!port.ok()) return port.status();
  if (queue == 0) {
    if (absl::Status status = SetMac((*port)->device_name(), mac); !status.ok()) return status;
  }
  return port;
}

}  // namespace weft::netstack
