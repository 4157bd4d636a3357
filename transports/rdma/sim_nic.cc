// SPDX-License-Identifier: Apache-2.0
//
// The device: packets, memory and events. Its datagram queues are in sim_nic_ud.cc.
#include "weft/transports/rdma/sim_nic.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/core/bytes.h"
#include "weft/transports/rdma/sim_nic_ud.h"
#include "weft/transports/sim/hash.h"

namespace weft::rdma {
namespace {

// In front of each packet: queue pairs, queue key, and what stands for the ICRC.
constexpr size_t kHeaderBytes = 20;

Gid GidOfNode(sim::NodeId node) {
  Gid gid;
  gid.bytes = {0xfd, 'w', 'e', 'f', 't'};
  StoreBig32(&gid.bytes[12], node);
  return gid;
}

uint64_t Checksum(absl::Span<const uint8_t> header, absl::Span<const uint8_t> body) {
  return sim::HashBytes(sim::HashBytes(1, header), body);
}

}  // namespace

class SimRegistration final : public Registration {
 public:
  SimRegistration(SimNic* nic, absl::Span<uint8_t> memory, uint32_t key)
      : nic_(nic), memory_(memory), key_(key) {
    nic_->registrations_.emplace(key, memory);
  }
  ~SimRegistration() override { nic_->registrations_.erase(key_); }
  absl::Span<uint8_t> memory() const override { return memory_; }
  uint32_t local_key() const override { return key_; }

 private:
  SimNic* const nic_;
  const absl::Span<uint8_t> memory_;
  const uint32_t key_;
};

class SimSubscription final : public Nic::Subscription {
 public:
  explicit SimSubscription(SimNic* nic) : nic_(nic) { nic_->subscribers_.push_back(&events_); }
  ~SimSubscription() override { std::erase(nic_->subscribers_, &events_); }
  size_t Take(absl::Span<NicEvent> events) override {
    const size_t n = std::min(events.size(), events_.size());
    std::copy_n(events_.begin(), n, events.begin());
    events_.erase(events_.begin(), events_.begin() + static_cast<ptrdiff_t>(n));
    return n;
  }
  int wait_fd() const override { return -1; }

 private:
  SimNic* const nic_;
  std::vector<NicEvent> events_;
};

class SimCompletionQueue final : public CompletionQueue {
 public:
  explicit SimCompletionQueue(SimNic* nic) : nic_(nic) {}
  absl::StatusOr<std::unique_ptr<RcQueue>> OpenRcQueue(const RcOptions& options) override {
    return OpenSimRcQueue(nic_, options, completions_);
  }
  absl::StatusOr<std::unique_ptr<UdQueue>> OpenUdQueue(const UdOptions& options) override {
    if (nic_->removed()) return absl::UnavailableError("the device is gone");
    return std::make_unique<SimUdQueue>(nic_, options);
  }
  size_t Poll(absl::Span<RcCompletion> completions) override {
    std::vector<RcCompletion>& ready = completions_->ready;
    const size_t n = std::min(completions.size(), ready.size());
    std::copy_n(ready.begin(), n, completions.begin());
    ready.erase(ready.begin(), ready.begin() + static_cast<ptrdiff_t>(n));
    return n;
  }
  int wait_fd() const override { return -1; }
  bool Arm() override { return true; }
  void Disarm() override {}

 private:
  SimNic* const nic_;
  const std::shared_ptr<SimCompletions> completions_ = std::make_shared<SimCompletions>();
};

absl::StatusOr<std::unique_ptr<SimNic>> SimNic::Open(sim::Network* network, const Address& address,
                                                     const SimNicOptions& options) {
  if (address.kind() != Address::Kind::kSim) {
    return absl::InvalidArgumentError(
        "a simulated device is plugged in at an address like sim:NAME");
  }
  const absl::StatusOr<sim::NodeId> node = network->AddNode(address.name());
  if (!node.ok()) return node.status();
  std::unique_ptr<SimNic> nic(new SimNic(network, options));
  nic->gid_ = GidOfNode(*node);
  auto attachment = network->Attach(*node, sim::Channel::kFrames, 0, 1, nic.get());
  if (!attachment.ok()) return attachment.status();
  nic->attachment_ = *std::move(attachment);
  // So that packets to a device that was at this node before find nobody.
  nic->last_qpn_ = static_cast<uint32_t>(network->NextUnique() * 0x1000 & 0xffffff);
  return nic;
}

SimNic::~SimNic() = default;

absl::StatusOr<std::unique_ptr<CompletionQueue>> SimNic::OpenCompletionQueue() {
  if (removed_) return absl::UnavailableError("the device is gone");
  return std::make_unique<SimCompletionQueue>(this);
}

absl::StatusOr<std::unique_ptr<Registration>> SimNic::Register(absl::Span<uint8_t> memory, bool) {
  return std::make_unique<SimRegistration>(this, memory, ++last_key_);
}

absl::StatusOr<std::unique_ptr<Window>> SimNic::OpenWindow() { return OpenSimWindow(this); }

std::unique_ptr<Nic::Subscription> SimNic::Subscribe() {
  return std::make_unique<SimSubscription>(this);
}

void SimNic::Publish(NicEvent event) {
  for (std::vector<NicEvent>* events : subscribers_) events->push_back(event);
}

void SimNic::SetLink(bool up) {
  if (up == link_up_) return;
  link_up_ = up;
  Publish({up ? NicEvent::Kind::kPortUp : NicEvent::Kind::kPortDown});
}

void SimNic::Remove() {
  removed_ = true;
  const auto queue_pairs = queue_pairs_;
  for (const auto& [qpn, queue_pair] : queue_pairs) queue_pair->OnRemoved();
  Publish({NicEvent::Kind::kDeviceRemoved});
}

void SimNic::FailQueue(uint32_t qpn) {
  const auto found = queue_pairs_.find(qpn);
  if (found == queue_pairs_.end()) return;
  found->second->OnRemoved();
  Publish({NicEvent::Kind::kQueueFailed, qpn});
}

uint32_t SimNic::AddQueuePair(SimQueuePair* queue_pair) {
  do {
    last_qpn_ = (last_qpn_ + 1) & 0xffffff;
  } while (last_qpn_ < 2 || queue_pairs_.contains(last_qpn_));
  queue_pairs_.emplace(last_qpn_, queue_pair);
  return last_qpn_;
}

uint8_t* SimNic::MemoryAt(const Piece& piece) const {
  const auto found = registrations_.find(piece.local_key);
  if (found == registrations_.end()) return nullptr;
  const auto begin = reinterpret_cast<uint64_t>(found->second.data());
  const uint64_t offset = piece.address - begin;
  if (piece.address < begin || offset > found->second.size() ||
      piece.bytes > found->second.size() - offset) {
    return nullptr;
  }
  return found->second.data() + offset;
}

bool SimNic::IsRegistered(const uint8_t* data, size_t bytes) const {
  for (const auto& [key, memory] : registrations_) {
    if (data >= memory.data() && data + bytes <= memory.data() + memory.size()) return true;
  }
  return false;
}

void SimNic::Transmit(const Gid& to, uint32_t to_qpn, uint32_t from_qpn, uint32_t qkey,
                      absl::Span<const uint8_t> body) {
  const uint32_t node = LoadBig32(&to.bytes[12]);
  if (!link_up_ || removed_) {
    ++stats_.link_lost;
    return;
  }
  if (!network_->IsNode(node) || to != GidOfNode(node)) return;
  uint8_t header[kHeaderBytes];
  StoreBig32(header, to_qpn);
  StoreBig32(header + 4, from_qpn);
  StoreBig32(header + 8, qkey);
  StoreBig64(header + 12, Checksum({header, 12}, body));
  network_->Send(attachment_.node(), node, sim::Channel::kFrames, 0, 0, header, body);
}

void SimNic::OnPacket(sim::PacketPtr packet) {
  const absl::Span<const uint8_t> bytes = packet->bytes;
  const bool whole =
      bytes.size() >= kHeaderBytes &&
      LoadBig64(&bytes[12]) == Checksum(bytes.first(12), bytes.subspan(kHeaderBytes));
  if (!link_up_ || removed_) {
    ++stats_.link_lost;
  } else if (!whole) {
    ++stats_.damaged;
  } else if (const auto found = queue_pairs_.find(LoadBig32(&bytes[0]));
             found == queue_pairs_.end()) {
    ++stats_.no_queue;
  } else {
    found->second->OnPacket(GidOfNode(packet->from), LoadBig32(&bytes[4]), LoadBig32(&bytes[8]),
                            bytes.subspan(kHeaderBytes));
  }
  network_->Recycle(std::move(packet));
}

}  // namespace weft::rdma
