// SPDX-License-Identifier: Apache-2.0
//
// Packets on their way out: gathered while a burst is processed, sent together at its end, kept
// while the port is blocked.
#ifndef WEFT_RPC_PACKET_QUEUE_H_
#define WEFT_RPC_PACKET_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/core/metrics.h"
#include "weft/rpc/payload.h"
#include "weft/transports/datagram_port.h"

namespace weft::rpc {

class PacketQueue {
 public:
  // Packets that are dropped are counted in `dropped`.
  PacketQueue(size_t capacity, Counter* dropped) : capacity_(capacity), dropped_(dropped) {
    packets_.reserve(capacity);
  }

  // Takes the packet; false, and `buffer` untouched, when the queue is full. `tail`, only for a
  // port that gathers, is read when the packet is sent: whoever gives that memory back before must
  // Withdraw() it.
  bool Push(const Peer& peer, Buffer&& buffer, absl::Span<const uint8_t> tail = {}) {
    if (end_ == packets_.size() && !MakeRoom()) return false;
    packets_[end_].peer = peer;
    packets_[end_].buffer = std::move(buffer);
    packets_[end_].tail = tail;
    ++end_;
    return true;
  }

  // Drops the packets whose tails lie in `payload`.
  void Withdraw(const Payload& payload);

  // Changes whenever the queue runs empty: no tail that was pushed in an earlier epoch is still
  // here.
  uint64_t epoch() const { return epoch_; }

  // Sends what the port accepts and returns how many packets that was. Packets to a peer that
  // blocks the port let the others pass next time; of a peer that stays blocked, more than a
  // bounded number are dropped, the latest first.
  size_t Flush(DatagramPort& port) {
    if (empty()) return 0;
    const size_t sent = port.Send(absl::MakeSpan(packets_).subspan(begin_, size()));
    begin_ += sent;
    if (empty()) [[likely]] {
      begin_ = end_ = 0;
      ++epoch_;
    } else {
      SetBlockedAside();
    }
    return sent;
  }

  bool empty() const { return begin_ == end_; }
  size_t size() const { return end_ - begin_; }
  size_t capacity() const { return capacity_; }
  size_t room() const { return capacity() - size(); }

 private:
  bool MakeRoom();
  void SetBlockedAside();

  const size_t capacity_;
  // Allocated for all at once, made when they are first needed: few queues are ever full, and what
  // is not touched takes no memory.
  std::vector<Datagram> packets_;
  size_t begin_ = 0;
  size_t end_ = 0;
  uint64_t epoch_ = 1;
  Counter* const dropped_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_PACKET_QUEUE_H_
