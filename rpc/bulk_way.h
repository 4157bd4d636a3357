// SPDX-License-Identifier: Apache-2.0
//
// The way of long messages that are fetched (transports/bulk_transfers.h), as a client or a server
// uses it: none, over most ports. A message takes it that lies in one of its buffers and is long
// enough; the other side is told where it lies (ANNOUNCEMENT in docs/protocols/r2p2_extended.md).
// Everything else, and what could not be fetched, goes in packets. Not for users.
#ifndef WEFT_RPC_BULK_WAY_H_
#define WEFT_RPC_BULK_WAY_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/rpc/payload.h"
#include "weft/rpc/wire.h"
#include "weft/transports/bulk_transfers.h"
#include "weft/transports/datagram_port.h"

namespace weft::rpc {

class BulkWay {
 public:
  // That of `port`, which outlives it.
  explicit BulkWay(DatagramPort& port);

  bool exists() const { return bulk_ != nullptr; }

  // A buffer with room for a message of so many bytes; null when there is none left, and for
  // messages that are too short or too long.
  Buffer Allocate(size_t bytes) { return bytes >= min_bytes_ ? bulk_->Allocate(bytes) : Buffer(); }
  Buffer CopyOf(absl::Span<const uint8_t> bytes);

  // Whether a message in `buffer`, not null, may be announced.
  bool Suits(const Buffer& buffer) const {
    return buffer.size() >= min_bytes_ && bulk_->Owns(buffer);
  }

  // How many buffers one of `users` may hold of those that there are, so that others get theirs:
  // its part of all, or as many as are left.
  size_t ShareOf(size_t users) const {
    return std::max(bulk_->buffers() / users, bulk_->available());
  }

  // Whether a message of so many bytes could be fetched, if there is a way and a buffer.
  bool MayFetch(size_t bytes) const { return exists() && bytes <= bulk_->max_bytes(); }
  // Begins to fetch what `peer` has announced; `context` comes back by TakeFetched(). False: it
  // cannot be.
  bool Fetch(const Peer& peer, const Announcement& announcement, uint64_t context);
  // Fetches that have not come back.
  size_t fetching() const { return fetching_; }
  // Whether a long message may be crossing the path, one way or the other.
  bool busy() const { return fetching_ + exposed_ > 0; }
  // To be called in each round in which it is busy().
  void NoteBusy(int64_t now_ns) { busy_ns_ = now_ns; }
  // Whether it is, or was noted to be at `since_ns` or later. The round trip of a packet that was
  // sent then has the device's work on the long message in it.
  bool WasBusySince(int64_t since_ns) const { return busy() || busy_ns_ >= since_ns; }
  // Calls `on_fetched(BulkTransfers::Fetched&&)` for each that has ended; it may begin others.
  // Returns their number.
  template <typename F>
  size_t TakeFetched(F on_fetched) {
    std::array<BulkTransfers::Fetched, 8> fetched;
    const size_t n = bulk_->TakeFetched(absl::MakeSpan(fetched));
    fetching_ -= n;
    for (size_t i = 0; i < n; ++i) on_fetched(std::move(fetched[i]));
    return n;
  }

 private:
  friend class AnnouncedMessage;

  BulkTransfers* bulk_ = nullptr;
  size_t min_bytes_ = std::numeric_limits<size_t>::max();
  size_t fetching_ = 0;
  size_t exposed_ = 0;  // messages
  int64_t busy_ns_ = std::numeric_limits<int64_t>::min();
};

// A message that its receiver may fetch, at once or as soon as there is a way: while it is active()
// it stays as it is, and while it is exposed() somebody may be reading it; by End() before it is
// destroyed.
class AnnouncedMessage {
 public:
  AnnouncedMessage() = default;
  AnnouncedMessage(AnnouncedMessage&&) = delete;
  AnnouncedMessage& operator=(AnnouncedMessage&&) = delete;
  ~AnnouncedMessage();

  // True, with `payload` taken: it is to be announced. False, with `payload` as it was: it is to go
  // in packets.
  bool Begin(BulkWay& way, Payload& payload);
  // Lets `peer` fetch it, if there is a way now, and anew if what it was let by is lost. True if it
  // is new.
  bool Expose(BulkWay& way, const Peer& peer);
  bool active() const { return static_cast<bool>(buffer_); }
  bool exposed() const { return key_.has_value(); }
  size_t bytes() const { return buffer_.size(); }
  // Writes the body of the packet that says so, of at most kAnnouncementBytes. Returns its length.
  size_t WriteBody(uint8_t* out) const;
  // From now on nobody reads it.
  Payload End(BulkWay& way);

 private:
  void Conceal(BulkWay& way);

  Buffer buffer_;
  std::optional<BulkKey> key_;
};

// What fetches are for, by the number that they come back with. Whatever was asked to end in the
// meantime is found gone by its name, so a place is free again only when its fetch has come back.
template <typename Name>
class FetchTable {
 public:
  // Never 0.
  uint64_t Begin(const Name& name) {
    if (free_.empty()) {
      free_.push_back(static_cast<uint32_t>(places_.size()));
      places_.emplace_back();
    }
    const uint32_t index = free_.back();
    free_.pop_back();
    Place& place = places_[index];
    place.name = name;
    return uint64_t{++place.generation} << 32 | index;
  }

  // None for a number that is not under way.
  std::optional<Name> End(uint64_t number) {
    const auto index = static_cast<uint32_t>(number);
    if (index >= places_.size() || number >> 32 != places_[index].generation ||
        places_[index].generation % 2 == 0) {
      return std::nullopt;
    }
    ++places_[index].generation;
    free_.push_back(index);
    return places_[index].name;
  }

 private:
  struct Place {
    Name name;
    uint32_t generation = 0;  // odd while it is in use
  };
  std::vector<Place> places_;
  std::vector<uint32_t> free_;
};

// Whoever waits for a way to be made looks for it so often.
inline constexpr int64_t kWayProbeNs = 2'000'000;

// How long to wait for news of an announced message of so many bytes after `tries` in vain:
// fetching takes its time, at a nanosecond a byte or so, and to ask is cheap.
inline int64_t FetchPatienceNs(size_t bytes, uint32_t tries) {
  constexpr int64_t kMostNs = 20'000'000;
  const auto bytes_ns = static_cast<int64_t>(bytes);
  return std::min(bytes_ns << std::min(tries, 5u), bytes_ns + kMostNs);
}

}  // namespace weft::rpc

#endif  // WEFT_RPC_BULK_WAY_H_
