// SPDX-License-Identifier: Apache-2.0
//
// Packets on their way out of one port: gathered while a burst is handled, sent together, kept
// while the port is blocked. Not for users.
#ifndef WEFT_ROUTER_OUTBOX_H_
#define WEFT_ROUTER_OUTBOX_H_

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "weft/core/metrics.h"
#include "weft/transports/datagram_port.h"

namespace weft::router {

class Outbox {
 public:
  // What has to be given up is counted in `dropped`.
  Outbox(size_t capacity, Counter* dropped)
      : packets_(capacity), sources_(capacity), dropped_(dropped) {}

  bool empty() const { return begin_ == end_; }
  size_t size() const { return end_ - begin_; }
  // Whoever adds packets should wait.
  bool is_congested() const { return size() > packets_.size() / 2; }

  // `source`: under whose address it goes, with Forward().
  void Push(const Peer& to, Buffer&& buffer, const Peer& source = {}) {
    if (end_ == packets_.size() && !MakeRoom()) {
      ++*dropped_;
      buffer.Reset();
      return;
    }
    packets_[end_].peer = to;
    packets_[end_].buffer = std::move(buffer);
    sources_[end_] = source;
    ++end_;
  }

  // Sends what the port takes, and returns how many packets that was.
  size_t Send(DatagramPort& port) {
    if (empty()) return 0;
    return Sent(port.Send(absl::MakeSpan(packets_).subspan(begin_, size())));
  }
  size_t Forward(DatagramPort& port) {
    if (empty()) return 0;
    return Sent(port.Forward(absl::MakeSpan(packets_).subspan(begin_, size()),
                             absl::MakeSpan(sources_).subspan(begin_, size())));
  }

 private:
  size_t Sent(size_t n) {
    begin_ += n;
    if (empty()) [[likely]] {
      begin_ = end_ = 0;
    } else {
      SetBlockedAside();
    }
    return n;
  }

  bool MakeRoom() {
    if (begin_ == 0) return false;
    std::move(packets_.begin() + static_cast<ptrdiff_t>(begin_),
              packets_.begin() + static_cast<ptrdiff_t>(end_), packets_.begin());
    std::copy(sources_.begin() + static_cast<ptrdiff_t>(begin_),
              sources_.begin() + static_cast<ptrdiff_t>(end_), sources_.begin());
    end_ -= std::exchange(begin_, 0);
    return true;
  }

  // The first packet is for a peer that blocks: the others shall pass it. When many wait, it is
  // given up, so that one peer cannot fill the queue for ever.
  void SetBlockedAside() {
    Buffer blocked = std::move(packets_[begin_].buffer);
    const Peer to = packets_[begin_].peer;
    const Peer source = sources_[begin_];
    ++begin_;
    if (size() >= packets_.size() / 2) {
      ++*dropped_;
      return;
    }
    Push(to, std::move(blocked), source);
  }

  std::vector<Datagram> packets_;
  std::vector<Peer> sources_;
  size_t begin_ = 0;
  size_t end_ = 0;
  Counter* const dropped_;
};

}  // namespace weft::router

#endif  // WEFT_ROUTER_OUTBOX_H_
