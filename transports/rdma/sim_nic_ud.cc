// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/rdma/sim_nic_ud.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

namespace weft::rdma {
namespace {

constexpr size_t kGrhBytes = 40;

}  // namespace

SimUdQueue::SimUdQueue(SimNic* nic, const CompletionQueue::UdOptions& options)
    : nic_(nic),
      options_(options),
      qpn_(nic->AddQueuePair(this)),
      qkey_(static_cast<uint32_t>(nic->network().NextUnique() * 0x9e3779b1)),
      paths_(1),  // 0 is none
      work_(options.send_slots),
      posted_(options.receive_slots),
      received_(2 * size_t{options.receive_slots}) {
  for (Work& work : work_.slots) work.bytes.reserve(nic->limits().inline_bytes);
}

SimUdQueue::~SimUdQueue() {
  nic_->network().events().Cancel(next_work_);
  nic_->RemoveQueuePair(qpn_);
}

QueueAddress SimUdQueue::address() const {
  return {.gid = nic_->gid(), .qpn = qpn_, .qkey = qkey_};
}

absl::StatusOr<Path> SimUdQueue::OpenPath(const QueueAddress& to) {
  if (paths_.size() - free_paths_.size() > nic_->max_paths()) {
    return absl::ResourceExhaustedError("the device has no more address handles");
  }
  if (free_paths_.empty()) {
    paths_.push_back(to.gid);
    return static_cast<Path>(paths_.size() - 1);
  }
  const Path path = free_paths_.back();
  free_paths_.pop_back();
  paths_[path] = to.gid;
  return path;
}

void SimUdQueue::ClosePath(Path path) {
  paths_[path] = {};
  free_paths_.push_back(path);
}

void SimUdQueue::Gather(const UdSend& send, bool is_inline, std::vector<uint8_t>* bytes) {
  bytes->clear();
  for (const Piece& piece : absl::MakeConstSpan(send.pieces, send.count)) {
    if (piece.bytes == 0) continue;
    const uint8_t* const data =
        is_inline ? reinterpret_cast<const uint8_t*>(piece.address) : nic_->MemoryAt(piece);
    if (data == nullptr) {
      status_ = absl::InternalError("a send of memory that is not registered");
      return;
    }
    bytes->insert(bytes->end(), data, data + piece.bytes);
  }
}

bool SimUdQueue::Accept(const UdSend& send) {
  size_t size = 0;
  for (const Piece& piece : absl::MakeConstSpan(send.pieces, send.count)) size += piece.bytes;
  if (send.path == 0 || send.path >= paths_.size() || size > nic_->limits().path_mtu_bytes) {
    status_ = absl::InternalError("a send that the device refuses");
    return false;
  }
  Work& work = work_.Push();
  work.send = send;
  work.to = paths_[send.path];
  work.is_inline = size <= nic_->limits().inline_bytes;
  if (work.is_inline) Gather(send, true, &work.bytes);
  ++in_use_;
  ++counts_.send_posts;
  return true;
}

size_t SimUdQueue::Send(absl::Span<const UdSend> sends) {
  if (!status_.ok()) return 0;
  const bool idle = work_.size == 0;
  size_t n = 0;
  while (n < sends.size() && in_use_ < options_.send_slots && Accept(sends[n])) ++n;
  if (n == 0) return 0;
  ++counts_.send_doorbells;
  if (idle) {
    sim::EventQueue& events = nic_->network().events();
    next_work_ = events.At(events.now_ns() + nic_->work_request_ns(), [this] { WorkOnNext(); });
  }
  return n;
}

void SimUdQueue::WorkOnNext() {
  if (!status_.ok()) return;
  Work& work = work_.front();
  if (!work.is_inline) Gather(work.send, false, &gathered_);
  if (!status_.ok()) return;
  nic_->CountUdSent();
  nic_->Transmit(work.to, work.send.qpn, qpn_, work.send.qkey,
                 work.is_inline ? work.bytes : gathered_);
  ++unsignalled_;
  if (work.send.signalled) {
    completed_ += std::exchange(unsignalled_, 0);
    ++counts_.send_completions;
  }
  work_.Pop();
  if (work_.size == 0) return;
  sim::EventQueue& events = nic_->network().events();
  next_work_ = events.At(events.now_ns() + nic_->work_request_ns(), [this] { WorkOnNext(); });
}

size_t SimUdQueue::TakeSent() {
  in_use_ -= completed_;
  return std::exchange(completed_, 0);
}

size_t SimUdQueue::PostReceives(absl::Span<Buffer> buffers) {
  size_t n = 0;
  for (; n < buffers.size() && !posted_.full(); ++n) {
    Buffer& buffer = buffers[n];
    assert(buffer.empty() && buffer.headroom() >= kGrhBytes &&
           buffer.tailroom() >= nic_->limits().path_mtu_bytes);
    assert(nic_->IsRegistered(buffer.data() - kGrhBytes, kGrhBytes + buffer.tailroom()));
    posted_.Push() = std::move(buffer);
    ++counts_.receive_posts;
  }
  if (n > 0) ++counts_.receive_doorbells;
  return n;
}

size_t SimUdQueue::Receive(absl::Span<UdReceived> received) {
  const size_t n = std::min(received.size(), received_.size);
  for (UdReceived& out : received.first(n)) {
    out = std::move(received_.front());
    received_.Pop();
  }
  counts_.receive_completions += n;
  return n;
}

void SimUdQueue::OnPacket(const Gid& from, uint32_t from_qpn, uint32_t qkey,
                          absl::Span<const uint8_t> body) {
  SimNic::Stats& stats = nic_->mutable_stats();
  if (qkey != qkey_) {
    ++stats.wrong_qkey;
  } else if (posted_.size == 0 || received_.full()) {
    ++stats.ud_overruns;
  } else if (body.size() > posted_.front().tailroom()) {
    ++stats.ud_too_long;
  } else {
    Buffer buffer = std::move(posted_.front());
    posted_.Pop();
    std::memset(buffer.data() - kGrhBytes, 0xee, kGrhBytes);
    if (!body.empty()) std::memcpy(buffer.Append(body.size()), body.data(), body.size());
    ++stats.ud_received;
    received_.Push() = {std::move(buffer), from_qpn, true, from};
  }
}

void SimUdQueue::OnRemoved() {
  status_ = absl::UnavailableError("the queue pair is in its error state");
}

}  // namespace weft::rdma
