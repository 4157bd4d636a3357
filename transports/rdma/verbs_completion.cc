// SPDX-License-Identifier: Apache-2.0

#include "weft/transports/rdma/verbs_completion.h"

#include <fcntl.h>

#include <algorithm>
#include <cassert>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "weft/transports/rdma/verbs_rc.h"
#include "weft/transports/rdma/verbs_ud.h"

namespace weft::rdma {
namespace {

constexpr uint32_t kFirstSlots = 1024;  // of the connections' completion queue; it grows
constexpr size_t kBurst = 32;

}  // namespace

bool ArmedCq::Arm() {
  if (has_kept_) return false;
  if (!armed_) armed_ = ibv_req_notify_cq(cq_.get(), 0) == 0;
  has_kept_ = PollDevice(absl::MakeSpan(&kept_, 1)) == 1;
  return !has_kept_;
}

absl::StatusOr<std::unique_ptr<VerbsCompletionQueue>> VerbsCompletionQueue::Open(
    VerbsDevice& device) {
  auto queue = std::unique_ptr<VerbsCompletionQueue>(new VerbsCompletionQueue(device));
  queue->channel_.reset(ibv_create_comp_channel(device.context()));
  if (queue->channel_ == nullptr) return VerbsError("cannot make a completion channel", errno);
  const int fd = queue->channel_->fd;
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  auto cq = queue->MakeCq(kFirstSlots);
  if (!cq.ok()) return cq.status();
  queue->connections_ = *std::move(cq);
  return queue;
}

VerbsCompletionQueue::~VerbsCompletionQueue() {
  assert(ud_queues_.empty() && slots_in_use_ == 0 && "queues end before their completion queue");
}

absl::StatusOr<std::unique_ptr<ArmedCq>> VerbsCompletionQueue::MakeCq(uint32_t slots) {
  const auto slots_max = static_cast<uint32_t>(device_.attributes().max_cqe);
  if (slots > slots_max) {
    return absl::InvalidArgumentError(
        absl::StrCat(slots, " slots are more than a queue of the device has: at most ", slots_max));
  }
  VerbsPtr<ibv_cq> cq(
      ibv_create_cq(device_.context(), static_cast<int>(slots), nullptr, channel_.get(), 0));
  if (cq == nullptr) {
    return VerbsError(absl::StrCat("cannot make a completion queue of ", slots), errno);
  }
  return std::make_unique<ArmedCq>(std::move(cq));
}

absl::StatusOr<std::unique_ptr<UdQueue>> VerbsCompletionQueue::OpenUdQueue(
    const UdOptions& options) {
  auto queue = VerbsUdQueue::Open(*this, options);
  if (!queue.ok()) return queue.status();
  ud_queues_.push_back(queue->get());
  return *std::move(queue);
}

void VerbsCompletionQueue::Remove(VerbsUdQueue* queue) { std::erase(ud_queues_, queue); }

absl::Status VerbsCompletionQueue::Reserve(uint32_t slots) {
  const int wanted = static_cast<int>(slots_in_use_ + slots);
  const int now = connections_->get()->cqe;
  if (wanted <= now) return absl::OkStatus();
  const int grown = std::min(std::max(wanted, 2 * now), device_.attributes().max_cqe);
  if (wanted > grown) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the completion queue of the connections is full: ", slots_in_use_, " of ",
                     grown, " slots are in use"));
  }
  if (const int error = ibv_resize_cq(connections_->get(), grown); error != 0) {
    return VerbsError(absl::StrCat("cannot make a completion queue of ", grown), error);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<RcQueue>> VerbsCompletionQueue::OpenRcQueue(
    const RcOptions& options) {
  if (free_connections_.empty() && rc_queues_.size() == kConnectionsMax) {
    return absl::ResourceExhaustedError("too many connections");
  }
  if (absl::Status status = Reserve(options.slots); !status.ok()) return status;
  if (free_connections_.empty()) {
    free_connections_.push_back(static_cast<uint16_t>(rc_queues_.size()));
    rc_queues_.emplace_back();
  }
  const uint32_t index = free_connections_.back();
  Connection& connection = rc_queues_[index];
  auto queue =
      VerbsRcQueue::Open(*this, uint32_t{connection.generation} << kIndexBits | index, options);
  if (!queue.ok()) return queue.status();
  free_connections_.pop_back();
  connection.queue = queue->get();
  slots_in_use_ += options.slots;
  return *std::move(queue);
}

void VerbsCompletionQueue::Remove(VerbsRcQueue* queue, uint32_t connection, uint32_t slots) {
  Connection& entry = rc_queues_[connection % kConnectionsMax];
  if (entry.queue != queue) return;  // it was never opened
  entry.queue = nullptr;
  ++entry.generation;
  free_connections_.push_back(static_cast<uint16_t>(connection % kConnectionsMax));
  slots_in_use_ -= slots;
  TakeAll();  // its last ones, which are dropped, give their entries back
  std::erase_if(kept_, [=](const Kept& kept) { return kept.connection == connection; });
}

void VerbsCompletionQueue::TakeAll() {
  for (;;) {
    RcCompletion completions[kBurst];
    uint32_t owners[kBurst];
    const size_t count = PollDevice(completions, owners);
    for (size_t i = 0; i < count; ++i) kept_.push_back({owners[i], completions[i]});
    if (count < kBurst) return;
  }
}

size_t VerbsCompletionQueue::Poll(absl::Span<RcCompletion> completions) {
  size_t count = 0;
  if (!kept_.empty()) [[unlikely]] {
    count = std::min(kept_.size(), completions.size());
    for (size_t i = 0; i < count; ++i) completions[i] = kept_[i].completion;
    kept_.erase(kept_.begin(), kept_.begin() + static_cast<ptrdiff_t>(count));
  }
  if (slots_in_use_ == 0) return count;
  return count + PollDevice(completions.subspan(count), nullptr);
}

size_t VerbsCompletionQueue::PollDevice(absl::Span<RcCompletion> completions, uint32_t* owners) {
  size_t count = 0;
  while (count < completions.size()) {
    ibv_wc polled[kBurst];
    const size_t wanted = std::min(kBurst, completions.size() - count);
    const size_t got = connections_->Poll(absl::MakeSpan(polled, wanted));
    for (size_t i = 0; i < got; ++i) {
      const auto connection = static_cast<uint32_t>(polled[i].wr_id >> 32);
      const Connection& entry = rc_queues_[connection % kConnectionsMax];
      if (entry.queue == nullptr || entry.generation != connection >> kIndexBits) continue;
      if (!entry.queue->Complete(polled[i], completions[count])) continue;
      if (owners != nullptr) owners[count] = connection;
      ++count;
    }
    if (got < wanted) break;
  }
  return count;
}

bool VerbsCompletionQueue::Arm() {
  if (!kept_.empty() || !connections_->Arm()) return false;
  return std::all_of(ud_queues_.begin(), ud_queues_.end(),
                     [](VerbsUdQueue* queue) { return queue->Arm(); });
}

void VerbsCompletionQueue::Disarm() {
  ibv_cq* cq;
  void* context;
  while (ibv_get_cq_event(channel_.get(), &cq, &context) == 0) {
    ibv_ack_cq_events(cq, 1);
    static_cast<ArmedCq*>(context)->Fired();
  }
}

}  // namespace weft::rdma
