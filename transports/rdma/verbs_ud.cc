// SPDX-License-Identifier: Apache-2.0

#include "weft/transports/rdma/verbs_ud.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "weft/core/bytes.h"

namespace weft::rdma {
namespace {

constexpr size_t kIpv4Offset = 20;  // of an IPv4 header within the GRH

// The Internet checksum over a header of 20 bytes, which is 0 with the right one in it.
bool HasIpv4Checksum(const uint8_t* header) {
  uint32_t sum = 0;
  for (int i = 0; i < 20; i += 2) sum += LoadBig16(header + i);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return sum == 0xffff;
}

}  // namespace

Gid SourceOf(const uint8_t* grh) {
  Gid gid;
  const uint8_t* ipv4 = grh + kIpv4Offset;
  // Version 4 and no options, as RoCE wants it. In an IPv6 header that byte belongs to an address,
  // and version 6 in front of IPv4 may be left from an earlier datagram: then the checksum decides.
  if (ipv4[0] == 0x45 && (grh[0] >> 4 != 6 || HasIpv4Checksum(ipv4))) {
    gid.bytes[10] = gid.bytes[11] = 0xff;
    std::memcpy(gid.bytes.data() + 12, ipv4 + 12, 4);
  } else {
    std::memcpy(gid.bytes.data(), grh + 8, 16);
  }
  return gid;
}

VerbsUdQueue::VerbsUdQueue(VerbsCompletionQueue& completions,
                           const CompletionQueue::UdOptions& options)
    : completions_(completions),
      device_(completions.device()),
      send_slots_(options.send_slots),
      receive_slots_(options.receive_slots),
      inline_bytes_(static_cast<uint32_t>(completions.device().limits().inline_bytes)),
      waiting_(std::bit_ceil(options.receive_slots)) {
  flushed_.reserve(options.receive_slots);
  for (size_t i = 0; i < kBurst; ++i) {
    ibv_send_wr& send = send_requests_[i];
    send.next = i + 1 < kBurst ? &send_requests_[i + 1] : nullptr;
    send.sg_list = &send_pieces_[2 * i];
    send.opcode = IBV_WR_SEND;
    ibv_recv_wr& receive = receive_requests_[i];
    receive.next = i + 1 < kBurst ? &receive_requests_[i + 1] : nullptr;
    receive.sg_list = &receive_pieces_[i];
    receive.num_sge = 1;
  }
}

absl::StatusOr<std::unique_ptr<VerbsUdQueue>> VerbsUdQueue::Open(
    VerbsCompletionQueue& completions, const CompletionQueue::UdOptions& options) {
  const auto slots_max = static_cast<uint32_t>(completions.device().attributes().max_qp_wr);
  if (options.send_slots == 0 || options.receive_slots == 0 || options.send_slots > slots_max ||
      options.receive_slots > slots_max) {
    return absl::InvalidArgumentError(
        absl::StrCat("a queue of the device has 1 to ", slots_max, " slots, not ",
                     options.send_slots, " to send and ", options.receive_slots, " to receive"));
  }
  auto queue = std::unique_ptr<VerbsUdQueue>(new VerbsUdQueue(completions, options));
  if (absl::Status status = queue->Prepare(); !status.ok()) return status;
  return queue;
}

absl::Status VerbsUdQueue::Prepare() {
  auto send_cq = completions_.MakeCq(send_slots_);
  if (!send_cq.ok()) return send_cq.status();
  send_cq_ = *std::move(send_cq);
  auto receive_cq = completions_.MakeCq(receive_slots_);
  if (!receive_cq.ok()) return receive_cq.status();
  receive_cq_ = *std::move(receive_cq);

  ibv_qp_init_attr attributes = {};
  attributes.send_cq = send_cq_->get();
  attributes.recv_cq = receive_cq_->get();
  attributes.qp_type = IBV_QPT_UD;
  attributes.cap = {.max_send_wr = send_slots_,
                    .max_recv_wr = receive_slots_,
                    .max_send_sge = 2,
                    .max_recv_sge = 1,
                    .max_inline_data = inline_bytes_};
  pair_.reset(ibv_create_qp(device_.domain(), &attributes));
  if (pair_ == nullptr) {
    return VerbsError(absl::StrCat("cannot make a queue pair of ", send_slots_, " and ",
                                   receive_slots_, " slots"),
                      errno);
  }
  address_ = device_.AddressOf(pair_.get());
  address_.qkey = RandomBits() & 0x7fffffff;  // the highest bit is the kernel's
  return ToReadyToSend();
}

absl::Status VerbsUdQueue::ToReadyToSend() {
  ibv_qp_attr attributes = {};
  attributes.qp_state = IBV_QPS_INIT;
  attributes.port_num = device_.port();
  attributes.qkey = address_.qkey;
  int error = ibv_modify_qp(pair_.get(), &attributes,
                            IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_QKEY);
  if (error == 0) {
    attributes.qp_state = IBV_QPS_RTR;
    error = ibv_modify_qp(pair_.get(), &attributes, IBV_QP_STATE);
  }
  if (error == 0) {
    attributes.qp_state = IBV_QPS_RTS;
    error = ibv_modify_qp(pair_.get(), &attributes, IBV_QP_STATE | IBV_QP_SQ_PSN);
  }
  if (error == 0) return absl::OkStatus();
  return VerbsError("cannot make a queue pair ready to send", error);
}

VerbsUdQueue::~VerbsUdQueue() {
  completions_.Remove(this);
  // First, so that nothing is under way any more. Buffers go home with `waiting_`.
  pair_.reset();
  for (ibv_ah* handle : paths_) {
    if (handle != nullptr) ibv_destroy_ah(handle);
  }
  for (const ClosedPath& closed : closed_paths_) ibv_destroy_ah(closed.handle);
}

absl::StatusOr<Path> VerbsUdQueue::OpenPath(const QueueAddress& to) {
  ibv_ah_attr route = device_.RouteTo(to);
  ibv_ah* handle = ibv_create_ah(device_.domain(), &route);
  if (handle == nullptr) return VerbsError("cannot make an address handle", errno);
  if (free_paths_.empty()) {
    paths_.push_back(nullptr);
    free_paths_.push_back(static_cast<Path>(paths_.size()));
  }
  const Path path = free_paths_.back();
  free_paths_.pop_back();
  paths_[path - 1] = handle;
  return path;
}

void VerbsUdQueue::ClosePath(Path path) {
  if (path == 0 || path > paths_.size() || paths_[path - 1] == nullptr) return;
  ibv_ah* const handle = std::exchange(paths_[path - 1], nullptr);
  free_paths_.push_back(path);
  PollSends();
  if (sent_ == completed_) {
    ibv_destroy_ah(handle);
  } else {
    closed_paths_.push_back({sent_, handle});
  }
}

inline size_t VerbsUdQueue::PostSends(absl::Span<const UdSend> sends) {
  const size_t last = sends.size() - 1;
  for (size_t i = 0; i <= last; ++i) {
    const UdSend& send = sends[i];
    assert(send.path != 0 && send.path <= paths_.size() && paths_[send.path - 1] != nullptr);
    ibv_send_wr& request = send_requests_[i];
    ibv_sge* pieces = &send_pieces_[2 * i];
    pieces[0] = {send.pieces[0].address, send.pieces[0].bytes, send.pieces[0].local_key};
    uint32_t bytes = send.pieces[0].bytes;
    if (send.count > 1) {
      pieces[1] = {send.pieces[1].address, send.pieces[1].bytes, send.pieces[1].local_key};
      bytes += send.pieces[1].bytes;
    }
    unsigned int flags = bytes <= inline_bytes_ ? unsigned{IBV_SEND_INLINE} : 0;
    if (send.signalled || ++unsignalled_ >= send_slots_ / 2) {
      flags |= IBV_SEND_SIGNALED;
      unsignalled_ = 0;
    }
    request.wr_id = sent_ + i + 1;
    request.num_sge = send.count;
    request.send_flags = flags;
    request.wr.ud.ah = paths_[send.path - 1];
    request.wr.ud.remote_qpn = send.qpn;
    request.wr.ud.remote_qkey = send.qkey;
  }
  ibv_send_wr* const next = std::exchange(send_requests_[last].next, nullptr);
  ibv_send_wr* refused = nullptr;
  const int error = ibv_post_send(pair_.get(), send_requests_.data(), &refused);
  send_requests_[last].next = next;
  size_t posted = sends.size();
  if (error != 0) [[unlikely]] {
    posted = static_cast<size_t>(refused - send_requests_.data());
    unsignalled_ = send_slots_;  // the signalled ones may be among those refused
    if (posted == 0 && error != ENOMEM) status_ = VerbsError("cannot send", error);
  }
  sent_ += posted;
  counts_.send_posts += posted;
  counts_.send_doorbells += posted != 0;
  return posted;
}

size_t VerbsUdQueue::Send(absl::Span<const UdSend> sends) {
  // One that has failed has to come empty, to be revived.
  if (!status_.ok() || is_failed_) [[unlikely]]
    return 0;
  size_t taken = 0;
  while (taken < sends.size()) {
    size_t count = std::min(sends.size() - taken, kBurst);
    size_t room = send_slots_ - static_cast<size_t>(sent_ - completed_);
    if (room < count) {
      PollSends();
      room = send_slots_ - static_cast<size_t>(sent_ - completed_);
      count = std::min(count, room);
    }
    const size_t posted = count == 0 ? 0 : PostSends(sends.subspan(taken, count));
    if (posted == 0) break;
    taken += posted;
  }
  is_blocked_ = taken < sends.size();
  return taken;
}

void VerbsUdQueue::PollSends() {
  if (sent_ == completed_) return;
  ibv_wc completions[kBurst];
  size_t count;
  do {
    count = send_cq_->Poll(absl::MakeSpan(completions));
    for (size_t i = 0; i < count; ++i) {
      if (completions[i].status != IBV_WC_SUCCESS) [[unlikely]]
        Fail(completions[i]);
      completed_ = completions[i].wr_id;
    }
    counts_.send_completions += count;
  } while (count == kBurst);
  std::erase_if(closed_paths_, [this](const ClosedPath& closed) {
    if (closed.last_send > completed_) return false;
    ibv_destroy_ah(closed.handle);
    return true;
  });
}

size_t VerbsUdQueue::TakeSent() {
  PollSends();
  return static_cast<size_t>(completed_ - std::exchange(told_, completed_));
}

void VerbsUdQueue::Fail(const ibv_wc& completion) {
  if (is_failed_ || !status_.ok()) return;
  switch (completion.status) {
    // Soft-RoCE: there was no route to the receiver. Whose interface is down for a moment is not to
    // lose its queue for it, which others know by its number.
    case IBV_WC_LOC_QP_OP_ERR:
    case IBV_WC_WR_FLUSH_ERR:
    case IBV_WC_LOC_LEN_ERR: {  // a datagram was longer than its buffer
      is_failed_ = true;
      ibv_qp_attr attributes = {};
      attributes.qp_state = IBV_QPS_ERR;  // so that all that is under way comes back
      ibv_modify_qp(pair_.get(), &attributes, IBV_QP_STATE);
      return;
    }
    default:
      status_ = absl::UnavailableError(
          absl::StrCat("the queue pair has failed: ", ibv_wc_status_str(completion.status),
                       " (vendor's code ", completion.vendor_err, ")"));
  }
}

void VerbsUdQueue::Revive() {
  PollSends();
  if (completed_ != sent_ || received_ != posted_) return;
  is_failed_ = false;
  unsignalled_ = 0;
  ++counts_.revivals;
  ibv_qp_attr attributes = {};
  attributes.qp_state = IBV_QPS_RESET;
  if (const int error = ibv_modify_qp(pair_.get(), &attributes, IBV_QP_STATE); error != 0) {
    status_ = VerbsError("cannot reset a queue pair that has failed", error);
  } else {
    status_ = ToReadyToSend();
  }
  if (status_.ok()) PostReceiveBurst(absl::MakeSpan(flushed_));
  flushed_.clear();
}

size_t VerbsUdQueue::PostReceives(absl::Span<Buffer> buffers) {
  if (!status_.ok()) return 0;
  const size_t room = receive_slots_ - static_cast<size_t>(posted_ - received_) - flushed_.size();
  return PostReceiveBurst(buffers.first(std::min(buffers.size(), room)));
}

size_t VerbsUdQueue::PostReceiveBurst(absl::Span<Buffer> buffers) {
  size_t taken = 0;
  while (taken < buffers.size()) {
    const size_t wanted = std::min(buffers.size() - taken, kBurst);
    size_t count = 0;
    for (; count < wanted; ++count) {
      Buffer& buffer = buffers[taken + count];
      const auto address = reinterpret_cast<uint64_t>(buffer.data()) - kGrhBytes;
      const size_t bytes = kGrhBytes + buffer.tailroom();
      const bool fits = buffer.headroom() >= kGrhBytes && device_.Find(address, bytes, memory_);
      assert(fits && "registered, and with headroom for the GRH");
      if (!fits) break;
      receive_pieces_[count] = {address, static_cast<uint32_t>(bytes), memory_.region->lkey};
    }
    if (count == 0) break;
    ibv_recv_wr* const next = std::exchange(receive_requests_[count - 1].next, nullptr);
    ibv_recv_wr* refused = nullptr;
    const int error = ibv_post_recv(pair_.get(), receive_requests_.data(), &refused);
    receive_requests_[count - 1].next = next;
    const size_t posted =
        error == 0 ? count : static_cast<size_t>(refused - receive_requests_.data());
    for (size_t i = 0; i < posted; ++i) {
      waiting_[posted_++ & (waiting_.size() - 1)] = std::move(buffers[taken + i]);
    }
    taken += posted;
    counts_.receive_posts += posted;
    counts_.receive_doorbells += posted != 0;
    if (posted < wanted) break;
  }
  return taken;
}

inline size_t VerbsUdQueue::ReceiveBurst(absl::Span<UdReceived> received, size_t* polled) {
  ibv_wc completions[kBurst];
  *polled = receive_cq_->Poll(absl::MakeSpan(completions, std::min(kBurst, received.size())));
  counts_.receive_completions += *polled;
  const size_t mask = waiting_.size() - 1;
  size_t count = 0;
  for (size_t i = 0; i < *polled; ++i) {
    const ibv_wc& completion = completions[i];
    Buffer buffer = std::move(waiting_[received_++ & mask]);
    if (completion.status != IBV_WC_SUCCESS) [[unlikely]] {
      Fail(completion);
      if (flushed_.size() < receive_slots_) flushed_.push_back(std::move(buffer));
      continue;
    }
    if (i + 1 < *polled) __builtin_prefetch(waiting_[received_ & mask].data() - kGrhBytes);
    const size_t bytes = completion.byte_len - kGrhBytes;
    if (completion.byte_len < kGrhBytes || bytes > buffer.tailroom()) [[unlikely]]
      continue;
    UdReceived& message = received[count++];
    message.qpn = completion.src_qp;
    message.has_gid = (completion.wc_flags & IBV_WC_GRH) != 0;
    if (message.has_gid) message.gid = SourceOf(buffer.data() - kGrhBytes);
    buffer.Append(bytes);
    message.buffer = std::move(buffer);
  }
  return count;
}

size_t VerbsUdQueue::Receive(absl::Span<UdReceived> received) {
  size_t count = 0;
  size_t polled = kBurst;
  while (polled == kBurst && count < received.size()) {
    count += ReceiveBurst(received.subspan(count), &polled);
  }
  if (is_failed_) [[unlikely]]
    Revive();
  return count;
}

bool VerbsUdQueue::Arm() {
  // One that has failed is looked at until it is well again: nobody tells that its sends are back.
  if (is_failed_ || !receive_cq_->Arm()) return false;
  if (!is_blocked_) return true;
  PollSends();
  if (is_failed_ || sent_ - completed_ < send_slots_) return false;
  return send_cq_->Arm();
}

}  // namespace weft::rdma
