// SPDX-License-Identifier: Apache-2.0
//
// Packets of an emulated port that are about to be sent, as a burst. It is bounded: where it is
// full, and where the port's buffers are used up, whoever wants to send does so later, or when the
// peer asks again.
#ifndef WEFT_TRANSPORTS_REMOTE_MEMORY_OUTBOX_H_
#define WEFT_TRANSPORTS_REMOTE_MEMORY_OUTBOX_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/transports/datagram_port.h"
#include "weft/transports/port.h"

namespace weft::emulated {

class Outbox {
 public:
  Outbox(DatagramPort* port, PortStats* stats) : port_(port), stats_(stats) {}

  // A buffer for a packet; null where it could not be sent now.
  Buffer Allocate() {
    if (size_ == packets_.size()) Flush();
    if (size_ == packets_.size()) return Buffer();
    return port_->pool().Allocate();
  }

  // Takes a packet, of Allocate() or one that is sent again, for which has_room().
  void Add(const Peer& to, Buffer packet) {
    packets_[size_].peer = to;
    packets_[size_].buffer = std::move(packet);
    ++size_;
  }
  bool has_room() {
    if (size_ == packets_.size()) Flush();
    return size_ < packets_.size();
  }

  // What the port does not take now stays.
  void Flush() {
    if (size_ == 0) return;
    for (size_t i = 0; i < size_; ++i) bytes_[i] = packets_[i].buffer.size();
    const size_t sent = port_->Send(absl::MakeSpan(packets_.data(), size_));
    stats_->sent += sent;
    for (size_t i = 0; i < sent; ++i) stats_->sent_bytes += bytes_[i];
    if (sent < size_) {
      ++stats_->send_blocked;
      std::move(packets_.begin() + sent, packets_.begin() + size_, packets_.begin());
    }
    size_ -= sent;
  }
  bool empty() const { return size_ == 0; }

  BufferPool& pool() { return port_->pool(); }

 private:
  static constexpr size_t kPackets = 64;

  DatagramPort* const port_;
  PortStats* const stats_;
  std::array<Datagram, kPackets> packets_;
  std::array<size_t, kPackets> bytes_;
  size_t size_ = 0;
};

}  // namespace weft::emulated

#endif  // WEFT_TRANSPORTS_REMOTE_MEMORY_OUTBOX_H_
