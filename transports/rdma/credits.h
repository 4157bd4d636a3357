// SPDX-License-Identifier: Apache-2.0
//
// Who may send how much, so that no receive queue overruns: bookkeeping of both sides, without I/O
// and without a clock.
//
// A port shares its receive slots out to its peers. Each peer that is there has two: one for a
// datagram and one for a kCredit. What is left beyond those of max_peers is lent to peers that use
// it: nobody is lent more than a quarter of what stays free, so that some is always left for the
// next (Choudhury and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches",
// 1998). A window grows when its peer has used it up. One that is larger than that shrinks as its
// peer uses it, since what he may send already cannot be taken from him. Who has fallen silent can
// be asked to give it back: he then skips the sequence numbers that he has not used, and OnNext()
// takes them. A reserve stays out of it, for what no credit foresees: slots that are posted again
// in batches, datagrams that the network doubles or delays past later ones, and strays.
//
//   SlotShares shares(/*slots=*/2048, /*max_peers=*/1024);
//   Share share;
//   if (!shares.Open(&share)) ...                    // no slots for one more peer
//   tell the peer share.limit;
//   if (shares.OnArrival(&share, sequence) == Arrival::kBeyond) drop;
//   shares.Close(&share, now_ns);
#ifndef WEFT_TRANSPORTS_RDMA_CREDITS_H_
#define WEFT_TRANSPORTS_RDMA_CREDITS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>

namespace weft::rdma {

// What this side may send to a peer: sequence numbers from `next` up to, but not, `limit`.
struct Allowance {
  // An edge further ahead is a lie. A quarter of what the 16 bits of a header tell apart, so that
  // neither what is sent nor what comes late is taken for another number.
  static constexpr uint32_t kMaxWindow = 16'384;

  uint32_t next = 0;
  uint32_t limit = 0;

  uint32_t left() const { return limit - next; }
  // Gives up all but one of what is left, for good.
  void Skip() {
    if (left() > 1) next = limit - 1;
  }
  // Takes an edge as it was told; one that is older than the last is ignored. False for a lie.
  bool Raise(uint32_t edge) {
    if (static_cast<int32_t>(edge - limit) <= 0) return true;
    if (edge - next > kMaxWindow) return false;
    limit = edge;
    return true;
  }
};

// The slots of one peer.
struct Share {
  uint32_t next = 0;   // expected: all before it have arrived or are lost
  uint32_t limit = 0;  // the peer may send what is below
  uint32_t told = 0;   // the last limit that the peer was told
  // Of the slot for a kCredit at the other side: whether one may still be on its way, and the
  // sequence number whose arrival shows that it has been taken.
  bool credit_sent = false;
  uint32_t credit_seen_at = 0;
  bool open = false;

  uint32_t window() const { return limit - next; }
  uint32_t lent() const { return window() - 1; }
  // Whether the peer should hear of its limit: it knows of half of its window at most.
  bool due() const {
    return 2 * static_cast<int64_t>(static_cast<int32_t>(told - next)) <= window() && told != limit;
  }
};

enum class Arrival : uint8_t {
  kNew,
  kLate,    // doubled, or overtaken by one that was sent later
  kBeyond,  // more than the peer may send
};

class SlotShares {
 public:
  static constexpr uint32_t kMinSlots = 64;
  // The reserve is a part of the slots, but not less than that.
  static constexpr uint32_t kReserveRatio = 16;
  static constexpr uint32_t kMinReserve = 32;
  static constexpr uint32_t kMaxWindow = 1024;
  static constexpr uint32_t kFirstWindow = 16;
  // How long slots of a peer that has gone are not given to others: what it has sent may still be
  // on its way.
  static constexpr int64_t kSettleNs = 100'000'000;

  // `slots` at least kMinSlots.
  SlotShares(uint32_t slots, uint32_t max_peers);

  // Those that there are slots for: max_peers, or less.
  uint32_t max_peers() const { return max_peers_; }
  // Slots that are never lent.
  uint32_t reserve() const { return reserve_; }
  uint32_t free() const { return free_; }

  // A new share, beginning with sequence number 0. False when all are taken.
  bool Open(Share* share);
  // Gives it back, to be used again kSettleNs later.
  void Close(Share* share, int64_t now_ns);
  // Gives to others what has settled.
  void Settle(int64_t now_ns);
  // When Settle() has something to do next; INT64_MAX for never.
  int64_t NextNs() const { return settling_.empty() ? INT64_MAX : settling_.front().end_ns; }

  // A datagram has been taken out of the receive queue. Slots of those before it that are missing
  // count as free, as it shows that they are lost; the limit goes on.
  Arrival OnArrival(Share* share, uint32_t sequence) {
    const uint32_t ahead = sequence - share->next;
    if (ahead >= share->limit - share->next) [[unlikely]] {
      return static_cast<int32_t>(ahead) < 0 ? Arrival::kLate : Arrival::kBeyond;
    }
    Advance(share, sequence + 1);
    return Arrival::kNew;
  }
  // The peer says, by another way, that `next` is the one it will send next. False for a lie.
  bool OnNext(Share* share, uint32_t next);
  // The peer has used up its window: a larger one, if there is any left. False: others hold too
  // much.
  bool Grow(Share* share);
  // More than somebody may who asks for it now.
  bool HoldsTooMuch(const Share& share) const { return share.lent() > free_ / 4; }

  // Of all peers, and of those that have gone: what may be sent to this port at the most.
  uint32_t outstanding() const { return slots_ - reserve_ - free_ - 2 * (max_peers_ - peers_); }
  // Of the reserve, what goes with so much: receives to be posted beyond outstanding().
  uint32_t margin() const { return std::max(kMinReserve, outstanding() / kReserveRatio); }

 private:
  struct Settling {
    int64_t end_ns;
    uint32_t peers;
    uint32_t lent;
  };

  void Advance(Share* share, uint32_t next) {
    uint32_t n = next - share->next;
    if (HoldsTooMuch(*share)) [[unlikely]]
      n -= GiveBack(share, n);
    share->limit += n;
    share->next = next;
    if (share->credit_sent && static_cast<int32_t>(next - share->credit_seen_at) > 0) {
      share->credit_sent = false;
    }
  }
  // Of `n` slots that its peer has used and whose window is more than its due; returns how many.
  uint32_t GiveBack(Share* share, uint32_t n);

  const uint32_t slots_;
  const uint32_t reserve_;
  const uint32_t max_peers_;
  uint32_t free_;       // to be lent
  uint32_t peers_ = 0;  // those that have gone and have not settled included
  std::deque<Settling> settling_;
};

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_CREDITS_H_
