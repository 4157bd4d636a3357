// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/linux/tap_frame_port.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace weft::linux_transport {
namespace {

constexpr char kPath[] = "/dev/net/tun";
constexpr char kCapability[] = "cap_net_admin";

absl::StatusOr<UniqueFd> OpenTun() {
  UniqueFd fd(open(kPath, O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (fd) return fd;
  if (errno == ENOENT || errno == ENODEV || errno == ENXIO) {
    return absl::UnavailableError(absl::StrCat("this machine has no TAP devices: ", kPath,
                                               " is missing; `modprobe tun` may help"));
  }
  return DeviceError(errno, absl::StrCat("open ", kPath), kCapability);
}

// Why TUNSETIFF has failed.
absl::Status AttachError(int error, const std::string& name, int queues) {
  const std::string what = absl::StrCat("attach to TAP device '", name, "'");
  const absl::StatusOr<Interface> there = FindInterface(name);
  if (there.ok() && there->driver != "tun") {
    return absl::AlreadyExistsError(
        absl::StrCat("cannot ", what,
                     ": an interface of that name is "
                     "there and is no TAP device; choose another name"));
  }
  if (error == EBUSY) {
    return absl::AlreadyExistsError(
        absl::StrCat("cannot ", what, ": another program, or port, has it; choose another name"));
  }
  if (error == EINVAL && there.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "cannot ", what, ": it is a TUN device, or was made ", queues > 1 ? "without" : "with",
        " several queues (`ip tuntap add ... multi_queue`)"));
  }
  return DeviceError(error, what, kCapability);
}

// What of `config` the kernel may leave to the reader of a queue. Joined TCP segments must fit a
// buffer. UDP is never joined: nobody could tell the datagrams apart.
unsigned ReceiveOffload(size_t buffer_bytes, bool joined) {
  constexpr size_t kJoinedBytesMax = 65535 + 14;
  unsigned offload = TUN_F_CSUM;
  if (joined || buffer_bytes >= kJoinedBytesMax) offload |= TUN_F_TSO4 | TUN_F_TSO6;
  return offload;
}

// Locally administered, and the same whenever this machine makes a device of this name.
MacAddress MacFor(const std::string& name) {
  char host[256] = {};
  gethostname(host, sizeof(host) - 1);
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const char c : absl::StrCat(host, "/", name)) {
    hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  }
  MacAddress mac = {0x02};
  for (size_t i = 1; i < mac.size(); ++i) mac[i] = static_cast<uint8_t>(hash >> (8 * i));
  return mac;
}

}  // namespace

absl::Status TapFramePort::Probe() { return OpenTun().status(); }

std::string TapDevice::name() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return name_;
}

absl::StatusOr<UniqueFd> TapDevice::OpenQueue(int queues) {
  absl::StatusOr<UniqueFd> fd = OpenTun();
  if (!fd.ok()) return fd;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (open_ == 0) name_ = config_.interface();
  if (name_.size() >= IFNAMSIZ) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", name_, "' is too long for the name of an interface: at most ",
                     IFNAMSIZ - 1, " characters"));
  }
  ifreq request = {};
  name_.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (config_.offload()) request.ifr_flags |= IFF_VNET_HDR;
  if (queues > 1) request.ifr_flags |= IFF_MULTI_QUEUE;
  if (ioctl(fd->get(), TUNSETIFF, &request) != 0) return AttachError(errno, name_, queues);
  name_ = request.ifr_name;
  if (open_ == 0) {
    if (absl::Status status = SetUp(); !status.ok()) return status;
  }
  ++open_;
  return fd;
}

void TapDevice::Release() {
  const std::lock_guard<std::mutex> lock(mutex_);
  --open_;
}

absl::Status TapDevice::SetUp() const {
  if (config_.mtu() != 0) {
    if (absl::Status status = SetMtu(name_, config_.mtu()); !status.ok()) return status;
  }
  if (config_.kernel_addresses().empty()) return absl::OkStatus();
  const absl::StatusOr<Interface> interface = FindInterface(name_);
  if (!interface.ok()) return interface.status();
  if (absl::Status status = BringUp(name_); !status.ok()) return status;
  for (const std::string& address : config_.kernel_addresses()) {
    if (absl::Status status = AddAddress(*interface, address); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<FramePort>> TapFramePort::Open(TapDevice* device,
                                                              const BufferPoolOptions& buffers,
                                                              const Capabilities& capabilities,
                                                              const PortOptions& options) {
  absl::StatusOr<UniqueFd> fd = device->OpenQueue(options.queues);
  if (!fd.ok()) return fd.status();
  // From here on the port gives the queue back.
  struct Releaser {
    TapDevice* device;
    ~Releaser() {
      if (device != nullptr) device->Release();
    }
  } releaser{device};
  const bool joined = options.joined_segments &&
                      JoinedSegments::Fit(buffers.count, buffers.bytes - buffers.headroom);
  if (device->config().offload() &&
      ioctl(fd->get(), TUNSETOFFLOAD, ReceiveOffload(buffers.bytes - buffers.headroom, joined)) !=
          0) {
    return DeviceError(errno, "leave checksums to the other side (TUNSETOFFLOAD)", kCapability);
  }
  absl::StatusOr<Interface> interface = FindInterface(device->name());
  if (!interface.ok()) return interface.status();
  interface->mac = MacFor(interface->name);
  absl::StatusOr<LinkMonitor> link = LinkMonitor::Open(interface->index);
  if (!link.ok()) return link.status();
  absl::StatusOr<UniqueFd> wait_fd = WaitForAnyOf({fd->get(), link->fd()});
  if (!wait_fd.ok()) return wait_fd.status();
  Capabilities offered = capabilities;
  offered.max_frame_bytes =
      std::min<size_t>(interface->mtu + kEthernetBytes, buffers.bytes - buffers.headroom);
  releaser.device = nullptr;
  std::unique_ptr<TapFramePort> port(new TapFramePort(
      device, buffers, offered, *interface, *std::move(fd), *std::move(link), *std::move(wait_fd)));
  if (joined && device->config().offload()) port->joined_ = std::make_unique<JoinedSegments>();
  return port;
}

TapFramePort::TapFramePort(TapDevice* device, const BufferPoolOptions& buffers,
                           const Capabilities& capabilities, const Interface& interface,
                           UniqueFd fd, LinkMonitor link, UniqueFd wait_fd)
    : KernelFramePort(capabilities, buffers, interface, std::move(link), std::move(wait_fd)),
      device_(device),
      fd_(std::move(fd)),
      offload_(device->config().offload()) {}

TapFramePort::~TapFramePort() {
  fd_.Reset();
  device_->Release();
}

bool TapFramePort::Arm() {
  AssertOwner();
  // The rest of a frame that has been read already; nothing would wake anybody for it.
  if (joined_ != nullptr && !joined_->empty()) return false;
  return !std::exchange(send_blocked_, false);
}

}  // namespace weft::linux_transport
