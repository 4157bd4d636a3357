// SPDX-License-Identifier: Apache-2.0
//
// SecurePort: datagrams on their way out.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "weft/rpc/security/secure_port.h"

namespace weft::rpc {

size_t SecurePort::Send(absl::Span<Datagram> burst) {
  AssertOwner();
  FlushKept();
  if (!status_.ok()) return 0;
  size_t done = 0;
  while (done < burst.size()) {
    const size_t n = SealSome(burst.subspan(done));
    done += n;
    if (n == 0) break;
  }
  if (done < burst.size()) ++stats_.send_blocked;
  return done;
}

// Takes a prefix of `burst`: seals what it can, up to the room that there is, and sends it.
size_t SecurePort::SealSome(absl::Span<Datagram> burst) {
  const int64_t now_ns = loop_.now_ns();
  const size_t kept = sealed_count_;
  size_t done = 0;
  for (; done < burst.size() && sealed_count_ < kBurst; ++done) {
    Datagram& datagram = burst[done];
    Connection* const connection = connections_.Find(datagram.peer);
    if (connection == nullptr || !datagram.buffer ||
        datagram.size() > capabilities_.max_payload_bytes) [[unlikely]] {
      DropFromSend(datagram);
      continue;
    }
    if (kept > 0 && IsKept(connection->below)) [[unlikely]] {
      break;
    }
    if (!connection->established || (connection->client && connection->dialing->resolve_again))
        [[unlikely]] {
      Hold(*connection, datagram);
      continue;
    }
    const size_t bytes = datagram.size();
    if (!Seal(*connection, datagram, now_ns)) [[unlikely]] {
      DropFromSend(datagram);
      continue;
    }
    ++stats_.sent;
    stats_.sent_bytes += bytes;
  }
  if (sealed_count_ > 0) SendSealed();
  return done;
}

void SecurePort::DropFromSend(Datagram& datagram) {
  datagram.buffer.Reset();
  datagram.tail = {};
  ++stats_.send_failed;
}

// Moves the datagram, sealed, to the end of sealed_. False, and nothing done but perhaps its buffer
// changed, if that cannot be.
bool SecurePort::Seal(Connection& connection, Datagram& datagram, int64_t now_ns) {
  Buffer& buffer = datagram.buffer;
  const size_t tail_bytes = datagram.tail.size();
  // What somebody keeps, to send it again, must stay as it is.
  if (buffer.is_shared() || buffer.headroom() < RecordHead::kBytes ||
      buffer.tailroom() < tail_bytes + Aead::kTagBytes) [[unlikely]] {
    buffer = WithRoom(std::move(buffer), tail_bytes);
    if (!buffer) return false;
  }
  RecordHead head{.connection = connection.keys.remote_number};
  const uint64_t rotations = connection.keys.send.rotations();
  const size_t size = buffer.size();
  buffer.Append(tail_bytes + Aead::kTagBytes);
  if (!connection.keys.send.Seal(now_ns, rotation_, buffer.data(), size, datagram.tail,
                                 &head.number, &head.phase)) [[unlikely]] {
    return false;
  }
  counts_.key_updates_sent += connection.keys.send.rotations() - rotations;
  head.Write(buffer.Prepend(RecordHead::kBytes));
  sealed_[sealed_count_].peer = connection.below;
  sealed_[sealed_count_].buffer = std::move(buffer);
  ++sealed_count_;
  datagram.tail = {};
  ++counts_.records_sealed;
  return true;
}

// The same bytes in a buffer of this port's, which has room in front of them and behind; null when
// there is none.
Buffer SecurePort::WithRoom(Buffer buffer, size_t tail_bytes) {
  Buffer copy = pool().Allocate();
  if (!copy || copy.tailroom() < buffer.size() + tail_bytes + Aead::kTagBytes) return {};
  if (!buffer.empty()) std::memcpy(copy.Append(buffer.size()), buffer.data(), buffer.size());
  ++stats_.copied_buffers;
  stats_.copied_bytes += buffer.size();
  return copy;
}

bool SecurePort::IsKept(const Peer& below) const {
  return std::any_of(sealed_.begin(), sealed_.begin() + static_cast<ptrdiff_t>(sealed_count_),
                     [&below](const Datagram& datagram) { return datagram.peer == below; });
}

void SecurePort::FlushKept() {
  if (sealed_count_ > 0) [[unlikely]] {
    SendSealed();
  }
}

// What the port below does not take stays, those to the peer that blocks it behind the others.
void SecurePort::SendSealed() {
  const size_t sent = below_->Send(absl::MakeSpan(sealed_).first(sealed_count_));
  if (sent == sealed_count_) [[likely]] {
    sealed_count_ = 0;
    return;
  }
  if (!below_->status().ok()) status_ = below_->status();
  const auto first = sealed_.begin();
  const auto last = first + static_cast<ptrdiff_t>(sealed_count_);
  std::move(first + static_cast<ptrdiff_t>(sent), last, first);
  sealed_count_ -= sent;
  const Peer blocked = sealed_[0].peer;
  std::stable_partition(first, first + static_cast<ptrdiff_t>(sealed_count_),
                        [&blocked](const Datagram& datagram) { return datagram.peer != blocked; });
}

// Keeps a datagram until there are keys, or sends it if there are after all.
void SecurePort::Hold(Connection& connection, Datagram& datagram) {
  if (connection.client && connection.dialing->resolve_again) {
    if (absl::Status status = ResolveAgain(connection); !status.ok()) {
      ++counts_.held_dropped;
      return DropFromSend(datagram);
    }
    if (connection.established) {
      if (!Seal(connection, datagram, loop_.now_ns())) DropFromSend(datagram);
      return;
    }
  }
  const bool dialing = connection.client && (connection.dialing->under_way || Dial(connection));
  if (!dialing || connection.dialing->held.size() >= kHeldMax) {
    ++counts_.held_dropped;
    if (!dialing) events_.Add({PortEvent::Kind::kPeerUnreachable, connection.peer(), EACCES});
    return DropFromSend(datagram);
  }
  if (!datagram.tail.empty()) {
    if (datagram.buffer.tailroom() < datagram.tail.size()) {
      datagram.buffer = WithRoom(std::move(datagram.buffer), datagram.tail.size());
      if (!datagram.buffer) return DropFromSend(datagram);
    }
    std::memcpy(datagram.buffer.Append(datagram.tail.size()), datagram.tail.data(),
                datagram.tail.size());
    ++stats_.copied_buffers;
    stats_.copied_bytes += datagram.tail.size();
    datagram.tail = {};
  }
  ++stats_.sent;
  stats_.sent_bytes += datagram.buffer.size();
  connection.dialing->held.push_back(std::move(datagram));
}

void SecurePort::SendHeld(Connection& connection) {
  std::vector<Datagram> held = std::move(connection.dialing->held);
  connection.dialing->held.clear();
  for (Datagram& datagram : held) {
    if (sealed_count_ == kBurst) SendSealed();
    if (sealed_count_ == kBurst || !Seal(connection, datagram, loop_.now_ns())) {
      ++counts_.held_dropped;
      ++stats_.send_failed;
    }
  }
  FlushKept();
}

void SecurePort::DropHeld(Connection& connection) {
  counts_.held_dropped += connection.dialing->held.size();
  stats_.send_failed += connection.dialing->held.size();
  connection.dialing->held.clear();
}

}  // namespace weft::rpc
