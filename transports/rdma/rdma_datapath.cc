// SPDX-License-Identifier: Apache-2.0
//
// Sending and receiving of datagrams.
#include <algorithm>
#include <cstring>
#include <utility>

#include "weft/transports/rdma/rdma_datagram_port.h"

namespace weft::rdma {

bool RdmaDatagramPort::Sendable(const Datagram& datagram, const PeerEntry* entry) const {
  return entry != nullptr && datagram.buffer && datagram.tail.empty() &&
         datagram.buffer.size() <= entry->max_payload;
}

void RdmaDatagramPort::Drop(Datagram& datagram) {
  datagram.buffer.Reset();
  datagram.tail = {};
  ++stats_.send_failed;
}

size_t RdmaDatagramPort::Send(absl::Span<Datagram> burst) {
  AssertOwner();
  if (!status_.ok()) return 0;
  size_t done = 0;
  uint64_t sent = 0, bytes = 0;
  for (; done < burst.size(); ++done) {
    Datagram& datagram = burst[done];
    PeerEntry* const entry = peers_.Find(datagram.peer);
    if (!Sendable(datagram, entry)) [[unlikely]] {
      Drop(datagram);
      continue;
    }
    // Without a connection nothing is left to send.
    if (entry->out.left() == 0 || entry->waiting.pieces() != 0) [[unlikely]] {
      Wait(*entry, datagram);
      continue;
    }
    if (laid_ >= free_send_slots()) [[unlikely]] {
      PostSends();
      Reclaim();
      if (free_send_slots() == 0 || !status_.ok()) break;
    }
    const size_t size = datagram.buffer.size();
    if (!Lay(*entry, datagram.buffer)) [[unlikely]]
      break;
    ++sent;
    bytes += size;
    if (laid_ == kBatch) [[unlikely]]
      PostSends();
  }
  PostSends();
  if (sent != 0) {
    stats_.sent += sent;
    stats_.sent_bytes += bytes;
    ArmTick();
  }
  if (done < burst.size()) ++stats_.send_blocked;
  return done;
}

// Long ones are read by the device: from memory that it knows.
bool RdmaDatagramPort::Lay(PeerEntry& entry, Buffer& buffer) {
  const bool can_go = buffer.headroom() >= kHeaderBytes &&
                      (buffer.size() + kHeaderBytes <= inline_bytes_ || pool_.Owns(buffer));
  if (!can_go) [[unlikely]] {
    if (!Copy(buffer)) return false;
  }
  const uint32_t sequence = entry.out.next++;
  LayOut(entry, {.wants_more = entry.out.left() == 0}, sequence, std::move(buffer));
  return true;
}

inline void RdmaDatagramPort::LayOut(PeerEntry& entry, Header header, uint32_t sequence,
                                     Buffer buffer) {
  header.number = entry.remote_number;
  header.sequence = static_cast<uint16_t>(sequence);
  header.edge = static_cast<uint16_t>(entry.in.limit);
  entry.in.told = entry.in.limit;
  WriteHeader(header, buffer.Prepend(kHeaderBytes));
  UdSend& send = sends_[laid_];
  send.pieces[0] = {reinterpret_cast<uint64_t>(buffer.data()), static_cast<uint32_t>(buffer.size()),
                    local_key_};
  send.path = entry.path;
  send.qpn = entry.qpn;
  send.qkey = entry.qkey;
  send.signalled = ++unsignalled_ >= kSignalEvery;
  buffer_held_ |= send.pieces[0].bytes > inline_bytes_;
  if (send.signalled) {
    unsignalled_ = 0;
    buffer_held_ = false;
  }
  laid_buffers_[laid_++] = std::move(buffer);
}

bool RdmaDatagramPort::Copy(Buffer& buffer) {
  Buffer copy = CopyOf(pool_, buffer);
  if (!copy) return false;
  ++stats_.copied_buffers;
  stats_.copied_bytes += copy.size();
  buffer = std::move(copy);
  return true;
}

void RdmaDatagramPort::PostSends() {
  if (laid_ == 0) return;
  UdSend& last = sends_[laid_ - 1];
  // Buffers that the device reads should not have to wait for others to come; and a queue that is
  // full must be told that it is not any more.
  if (!last.signalled && (buffer_held_ || laid_ == free_send_slots())) {
    last.signalled = true;
    unsignalled_ = 0;
    buffer_held_ = false;
  }
  const size_t n = ud_->Send(absl::MakeConstSpan(sends_.data(), laid_));
  for (size_t i = 0; i < n; ++i) {
    if (sends_[i].pieces[0].bytes <= inline_bytes_) {
      laid_buffers_[i].Reset();
    } else {
      in_flight_[(posted_ + i) % in_flight_.size()] = std::move(laid_buffers_[i]);
    }
  }
  posted_ += n;
  if (n < laid_) [[unlikely]] {  // only of a queue that is no more
    for (size_t i = n; i < laid_; ++i) laid_buffers_[i].Reset();
    stats_.send_failed += laid_ - n;
    CheckQueue();
  }
  laid_ = 0;
}

void RdmaDatagramPort::Reclaim() {
  for (size_t n = ud_->TakeSent(); n > 0; --n) in_flight_[sent_++ % in_flight_.size()].Reset();
}

void RdmaDatagramPort::Wait(PeerEntry& entry, Datagram& datagram) {
  // Half of what is left, so that several who do not answer leave something for others.
  if (entry.waiting.pieces() >= std::min(kMaxWaiting, (max_waiting_ - waiting_ + 1) / 2)) {
    return Drop(datagram);
  }
  ++stats_.sent;
  stats_.sent_bytes += datagram.buffer.size();
  ++counts_.waited;
  ++waiting_;
  entry.waiting.Append(std::move(datagram.buffer));
  if (entry.state == PeerEntry::State::kIdle) Ask(entry);
  ArmTick();
}

void RdmaDatagramPort::ListForFlush(PeerEntry& entry) {
  if (entry.flush_listed || entry.waiting.pieces() == 0) return;
  entry.flush_listed = true;
  to_flush_.push_back(peers_.IndexOf(entry));
}

// Those whose turn does not come, since the device's queue is full, stay in the list.
void RdmaDatagramPort::Flush() {
  Reclaim();
  size_t done = 0;
  for (; done < to_flush_.size() && status_.ok() && free_send_slots() > 0; ++done) {
    PeerEntry& entry = peers_.At(to_flush_[done]);
    entry.flush_listed = false;
    FlushOne(entry);
    PostSends();
    if (entry.waiting.pieces() != 0 && entry.out.left() != 0) {
      entry.flush_listed = true;
      break;
    }
  }
  to_flush_.erase(to_flush_.begin(), to_flush_.begin() + static_cast<ptrdiff_t>(done));
  ArmTick();
}

void RdmaDatagramPort::FlushOne(PeerEntry& entry) {
  while (entry.waiting.pieces() != 0 && entry.out.left() != 0 && laid_ < free_send_slots()) {
    Buffer buffer = entry.waiting.PopFront();
    --waiting_;
    if (buffer.size() > entry.max_payload) {
      ++stats_.send_failed;  // it takes less than we hoped
      continue;
    }
    if (!Lay(entry, buffer)) {
      entry.waiting.Prepend(std::move(buffer));
      ++waiting_;
      return;
    }
    if (laid_ == kBatch) PostSends();
  }
}

inline size_t RdmaDatagramPort::ReceiveInto(absl::Span<Datagram> burst) {
  size_t n = 0;
  if (starved_) [[unlikely]]
    Refill();  // there may be buffers again
  while (n < burst.size()) {
    const size_t room = std::min(burst.size() - n, kBatch);
    const size_t got = ud_->Receive(absl::MakeSpan(received_.data(), room));
    if (got == 0) break;
    receives_ -= static_cast<uint32_t>(got);
    missing_ += static_cast<uint32_t>(got);
    // Before they are delivered: without others in their place they are not, see starved_.
    if (receives_short() > shares_.margin() / 2) [[unlikely]]
      Refill();
    for (size_t i = 0; i < got; ++i) {
      if (Handle(received_[i], &burst[n])) {
        ++n;
      } else {
        received_[i].buffer.Reset();
      }
    }
    if (receives_short() >= kPostBatch) Refill();
    if (got < room) break;
  }
  return n;
}

// Most calls find nothing, and what has come in the meantime waits for the next: so a call is one
// piece of code, but for what is seldom.
size_t RdmaDatagramPort::Receive(absl::Span<Datagram> burst) {
  AssertOwner();
  if (!status_.ok()) return 0;
  // Those that were owed it a round ago and have been sent nothing since that could carry it.
  if (!owed_credits_.empty()) [[unlikely]]
    SendCredits();
  size_t n = 0;
  for (; !kept_.empty() && n < burst.size(); ++n) {
    burst[n] = std::move(kept_.front());
    kept_.pop_front();
  }
  n += ReceiveInto(burst.subspan(n));
  if (!to_flush_.empty()) [[unlikely]]
    Flush();
  // The rest of the time it is polled with what is looked for now and then.
  if (bulk_ != nullptr && (bulk_->fetches() != 0 || bulk_->exposures() != 0)) bulk_->Poll(now_ns_);
  LookIfDue(n < burst.size());
  return n;
}

// True: it has been delivered to `out`.
bool RdmaDatagramPort::Handle(UdReceived& received, Datagram* out) {
  Header header;
  if (!ParseHeader(received.buffer.bytes(), &header)) [[unlikely]] {
    ++stats_.receive_malformed;
    return false;
  }
  PeerEntry* const entry = peers_.WithNumber(header.number);
  if (entry == nullptr || (entry->number & Header::kNumberMask) != header.number ||
      entry->qpn != received.qpn || entry->state != PeerEntry::State::kConnected ||
      (received.has_gid && !(entry->gid == received.gid))) [[unlikely]] {
    ++counts_.stray;
    return false;
  }
  entry->heard_at = entry->out.next;
  const uint32_t edge = FullSequence(header.edge, entry->out.limit);
  if (edge != entry->out.limit) OnEdge(*entry, edge);
  if (header.credit) [[unlikely]] {
    ++counts_.credits_received;
    return false;
  }
  const Arrival arrival =
      shares_.OnArrival(&entry->in, FullSequence(header.sequence, entry->in.next));
  if (arrival != Arrival::kNew) [[unlikely]] {
    if (arrival == Arrival::kBeyond) {
      ++counts_.beyond_credit;
      ++stats_.receive_malformed;
      return false;
    }
    ++counts_.late;
  }
  if (header.wants_more) [[unlikely]]
    slots_wanted_ |= !shares_.Grow(&entry->in);
  OweCredit(*entry);
  if (starved_) [[unlikely]] {
    ++counts_.starved;
    ++stats_.receive_dropped;
    return false;
  }
  received.buffer.TrimFront(kHeaderBytes);
  ++stats_.received;
  stats_.received_bytes += received.buffer.size();
  out->peer = peers_.PeerOf(*entry);
  out->buffer = std::move(received.buffer);
  out->tail = {};
  return true;
}

void RdmaDatagramPort::OnEdge(PeerEntry& entry, uint32_t edge) {
  if (!entry.out.Raise(edge)) {
    ++stats_.receive_malformed;
  } else if (entry.waiting.pieces() != 0) {
    ListForFlush(entry);
  }
}

void RdmaDatagramPort::SendCredits() {
  size_t done = 0;
  for (; done < owed_credits_.size(); ++done) {
    PeerEntry& entry = peers_.At(owed_credits_[done]);
    // One at a time is what the peer has a slot for.
    const bool owed =
        entry.state == PeerEntry::State::kConnected && entry.in.due() && !entry.in.credit_sent;
    if (owed) {
      if (laid_ >= free_send_slots()) Reclaim();
      if (laid_ >= free_send_slots()) break;
      Buffer buffer = pool_.Allocate();
      if (!buffer) break;
      SendCredit(entry, std::move(buffer));
    }
    entry.credit_listed = false;
  }
  owed_credits_.erase(owed_credits_.begin(), owed_credits_.begin() + static_cast<ptrdiff_t>(done));
  PostSends();
}

void RdmaDatagramPort::SendCredit(PeerEntry& entry, Buffer buffer) {
  entry.in.credit_sent = true;
  entry.in.credit_seen_at = entry.in.told;
  ++counts_.credits_sent;
  LayOut(entry, {.credit = true}, entry.out.next, std::move(buffer));
  if (laid_ == kBatch) PostSends();
}

void RdmaDatagramPort::Refill() {
  Buffer fresh[kBatch];
  while (receives_short() > 0) {
    const size_t missing = receives_short();
    const size_t wanted = std::min(missing, kBatch);
    size_t n = 0;
    while (n < wanted && (fresh[n] = BufferToReceiveIn(missing - n))) ++n;
    const size_t posted = n == 0 ? 0 : ud_->PostReceives(absl::MakeSpan(fresh, n));
    receives_ += static_cast<uint32_t>(posted);
    for (size_t i = posted; i < n; ++i) spare_.push_back(std::move(fresh[i]));
    if (posted < wanted) break;
  }
  starved_ = receives_short() > shares_.margin() / 2;
  for (; missing_ > 0; --missing_) {
    Buffer buffer = pool_.Allocate();
    if (!buffer) break;
    spare_.push_back(std::move(buffer));
  }
}

// Slots that were used are filled from the pool, most likely with what was received in them. When
// it is empty they stay as they are, and what lies ready stays with the slots that it is for.
Buffer RdmaDatagramPort::BufferToReceiveIn(size_t wanted) {
  Buffer buffer;
  if (wanted > missing_) {
    buffer = std::move(spare_.back());
    spare_.pop_back();
  } else if ((buffer = pool_.Allocate())) {
    --missing_;
  }
  return buffer;
}

void RdmaDatagramPort::Attend() {
  AssertOwner();
  if (!status_.ok()) return;
  if (!owed_credits_.empty()) SendCredits();
  while (kept_.size() < kBatch) {
    Datagram one[1];
    if (ReceiveInto(absl::MakeSpan(one)) == 0) break;
    kept_.push_back(std::move(one[0]));
  }
  if (!to_flush_.empty()) Flush();
  calls_to_look_ = 0;
  rendezvous_ns_ = 0;
  LookIfDue(true);
}

}  // namespace weft::rdma
