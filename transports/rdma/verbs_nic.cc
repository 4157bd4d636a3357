// SPDX-License-Identifier: Apache-2.0
//
// Opens a device, and what all queues of it share: verbs_device.h.

#include "weft/transports/rdma/verbs_nic.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "weft/transports/rdma/verbs_completion.h"
#include "weft/transports/rdma/verbs_device.h"

namespace weft::rdma {
namespace {

// Sends up to this long are copied into the work request, if the device can: enough for a small
// RPC, and not so much that the send queue grows by it.
constexpr uint32_t kInlineBytesWanted = 256;
// Reads and atomics of a connection that are under way at once.
constexpr int kReadsInFlightMax = 16;

VerbsPtr<ibv_qp> ProbePair(ibv_pd* domain, ibv_cq* cq, uint32_t inline_bytes) {
  ibv_qp_init_attr attributes = {};
  attributes.send_cq = attributes.recv_cq = cq;
  attributes.qp_type = IBV_QPT_UD;
  attributes.cap = {.max_send_wr = 1,
                    .max_recv_wr = 1,
                    .max_send_sge = 2,
                    .max_recv_sge = 1,
                    .max_inline_data = inline_bytes};
  return VerbsPtr<ibv_qp>(ibv_create_qp(domain, &attributes));
}

class VerbsRegistration final : public Registration {
 public:
  VerbsRegistration(VerbsDevice& device, absl::Span<uint8_t> memory, VerbsPtr<ibv_mr> region)
      : device_(device), memory_(memory), region_(std::move(region)) {}
  ~VerbsRegistration() override { device_.Forget(region_.get()); }

  absl::Span<uint8_t> memory() const override { return memory_; }
  uint32_t local_key() const override { return region_->lkey; }

 private:
  VerbsDevice& device_;
  const absl::Span<uint8_t> memory_;
  const VerbsPtr<ibv_mr> region_;
};

}  // namespace

absl::Status VerbsError(absl::string_view what, int error) {
  const std::string message = absl::StrCat(what, ": ", std::strerror(error));
  if (error == EPERM || error == EACCES) return absl::PermissionDeniedError(message);
  if (error == EINVAL) return absl::InvalidArgumentError(message);
  if (error != ENOMEM && error != EAGAIN && error != ENOSPC) return absl::UnavailableError(message);
  const size_t limit = LockedMemoryBytesMax();
  if (error != ENOMEM || limit == SIZE_MAX) return absl::ResourceExhaustedError(message);
  return absl::ResourceExhaustedError(
      absl::StrCat(message, "; this process may lock ", limit / 1024,
                   " KiB of memory (RLIMIT_MEMLOCK): ", LockedMemoryCure()));
}

ibv_mtu ToVerbsMtu(size_t bytes) {
  if (bytes >= 4096) return IBV_MTU_4096;
  if (bytes >= 2048) return IBV_MTU_2048;
  if (bytes >= 1024) return IBV_MTU_1024;
  return bytes >= 512 ? IBV_MTU_512 : IBV_MTU_256;
}

uint32_t RandomBits() {
  uint32_t bits = 0;
  if (getrandom(&bits, sizeof(bits), 0) != sizeof(bits)) bits = static_cast<uint32_t>(errno);
  return bits;
}

absl::StatusOr<std::unique_ptr<Nic>> OpenNic(const config::Rdma& settings, const Address& local) {
  const auto devices = ListDevices();
  if (!devices.ok()) return devices.status();
  const auto choice = ChoosePort(*devices, settings, local);
  if (!choice.ok()) return choice.status();
  return VerbsDevice::Open(*choice, settings);
}

absl::StatusOr<std::unique_ptr<VerbsDevice>> VerbsDevice::Open(const PortChoice& choice,
                                                               const config::Rdma& settings) {
  auto device = std::unique_ptr<VerbsDevice>(new VerbsDevice(choice, settings));
  if (absl::Status status = device->OpenContext(); !status.ok()) return status;
  if (absl::Status status = device->ReadLimits(); !status.ok()) return status;
  device->events_ = std::make_unique<VerbsEvents>(device->context(), choice.port);
  return device;
}

absl::Status VerbsDevice::OpenContext() {
  int count = 0;
  ibv_device** const devices = ibv_get_device_list(&count);
  for (int i = 0; devices != nullptr && i < count; ++i) {
    if (choice_.device != ibv_get_device_name(devices[i])) continue;
    context_.reset(ibv_open_device(devices[i]));
    break;
  }
  const int error = errno;
  if (devices != nullptr) ibv_free_device_list(devices);
  if (context_ == nullptr) return VerbsError(absl::StrCat("cannot open ", choice_.device), error);
  domain_.reset(ibv_alloc_pd(context()));
  if (domain_ == nullptr) {
    return VerbsError(absl::StrCat("cannot allocate a protection domain of ", choice_.device),
                      errno);
  }
  return absl::OkStatus();
}

absl::Status VerbsDevice::ReadLimits() {
  ibv_port_attr port;
  if (const int error = ibv_query_device(context(), &attributes_); error != 0) {
    return VerbsError(absl::StrCat("cannot query ", choice_.device), error);
  }
  if (const int error = ibv_query_port(context(), choice_.port, &port); error != 0) {
    return VerbsError(absl::StrCat("cannot query port ", choice_.port, " of ", choice_.device),
                      error);
  }
  lid_ = port.link_layer == IBV_LINK_LAYER_ETHERNET ? 0 : port.lid;
  limits_.path_mtu_bytes = size_t{128} << port.active_mtu;
  limits_.max_message_bytes = port.max_msg_sz;
  limits_.reads_in_flight = static_cast<size_t>(std::clamp(
      std::min(attributes_.max_qp_rd_atom, attributes_.max_qp_init_rd_atom), 1, kReadsInFlightMax));
  limits_.memory_windows = (attributes_.device_cap_flags & (IBV_DEVICE_MEM_WINDOW_TYPE_2B)) != 0;
  limits_.is_software = choice_.is_software;
  limits_.atomic_with_processor = attributes_.atomic_cap == IBV_ATOMIC_GLOB;

  // What is copied into a work request at most can only be tried.
  const VerbsPtr<ibv_cq> cq(ibv_create_cq(context(), 2, nullptr, nullptr, 0));
  if (cq == nullptr) {
    return VerbsError(absl::StrCat("cannot make a queue on ", choice_.device), errno);
  }
  for (uint32_t bytes = kInlineBytesWanted;; bytes /= 2) {
    if (ProbePair(domain(), cq.get(), bytes) != nullptr) {
      limits_.inline_bytes = bytes;
      return absl::OkStatus();
    }
    if (bytes == 0)
      return VerbsError(absl::StrCat("cannot make a queue on ", choice_.device), errno);
  }
}

absl::StatusOr<std::unique_ptr<CompletionQueue>> VerbsDevice::OpenCompletionQueue() {
  return VerbsCompletionQueue::Open(*this);
}

absl::StatusOr<std::unique_ptr<Registration>> VerbsDevice::Register(absl::Span<uint8_t> memory,
                                                                    bool windows) {
  const int access = IBV_ACCESS_LOCAL_WRITE | (windows ? IBV_ACCESS_MW_BIND : 0);
  VerbsPtr<ibv_mr> region(ibv_reg_mr(domain(), memory.data(), memory.size(), access));
  if (region == nullptr) {
    return VerbsError(absl::StrCat("cannot register ", memory.size() / 1024, " KiB of memory with ",
                                   choice_.device),
                      errno);
  }
  {
    absl::MutexLock lock(&mutex_);
    regions_.push_back(region.get());
  }
  return std::make_unique<VerbsRegistration>(*this, memory, std::move(region));
}

void VerbsDevice::Forget(ibv_mr* region) {
  absl::MutexLock lock(&mutex_);
  std::erase(regions_, region);
  epoch_.fetch_add(1, std::memory_order_release);
}

bool VerbsDevice::FindSlowly(uint64_t address, size_t bytes, const uint32_t* local_key,
                             Memory& last) {
  absl::MutexLock lock(&mutex_);
  for (ibv_mr* region : regions_) {
    const auto begin = reinterpret_cast<uint64_t>(region->addr);
    if (address < begin || address + bytes > begin + region->length) continue;
    if (local_key != nullptr && region->lkey != *local_key) continue;
    last = {epoch_.load(std::memory_order_relaxed), begin, begin + region->length, region,
            region->lkey};
    return true;
  }
  return false;
}

absl::StatusOr<std::unique_ptr<Window>> VerbsDevice::OpenWindow() {
  if (!limits_.memory_windows) {
    return absl::UnimplementedError(
        absl::StrCat(choice_.device, " has no memory windows of type 2"));
  }
  VerbsPtr<ibv_mw> window(ibv_alloc_mw(domain(), IBV_MW_TYPE_2));
  if (window == nullptr) {
    return VerbsError(absl::StrCat("cannot allocate a memory window of ", choice_.device), errno);
  }
  return std::make_unique<VerbsWindow>(domain(), std::move(window));
}

QueueAddress VerbsDevice::AddressOf(const ibv_qp* pair) const {
  QueueAddress address;
  address.gid = choice_.gid.gid;
  address.lid = lid_;
  address.qpn = pair->qp_num;
  address.path_mtu_bytes = static_cast<uint16_t>(limits_.path_mtu_bytes);
  return address;
}

ibv_ah_attr VerbsDevice::RouteTo(const QueueAddress& to) const {
  ibv_ah_attr route = {};
  route.is_global = 1;  // over InfiniBand as well: so that the receiver sees our GID
  route.grh.dgid = ToVerbs(to.gid);
  route.grh.sgid_index = static_cast<uint8_t>(choice_.gid.index);
  route.grh.hop_limit = 64;
  route.grh.traffic_class = static_cast<uint8_t>(settings_.traffic_class());
  route.dlid = to.lid;
  route.port_num = choice_.port;
  return route;
}

}  // namespace weft::rdma
