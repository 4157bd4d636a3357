// SPDX-License-Identifier: Apache-2.0
//
// What a server tells one router of the requests that it is done with, in such a way that a lost
// datagram costs nothing as soon as the next one comes: entries are numbered, and each datagram
// repeats those of the ones before it (docs/protocols/router.md). Not for users.
#ifndef WEFT_RPC_FEEDBACK_STREAM_H_
#define WEFT_RPC_FEEDBACK_STREAM_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "weft/r2p2/route_wire.h"
#include "weft/rpc/wire.h"

namespace weft::rpc {

// Fixed memory, no timers: its user says when to write.
class FeedbackStream {
 public:
  // Entries that a datagram repeats at most, and for how many datagrams.
  static constexpr size_t kRepeatedMax = 32;
  static constexpr size_t kGenerations = 8;
  // So many that are new go out without waiting for more: with what they repeat they fill a
  // datagram.
  static constexpr size_t kNewMax = kFeedbackEntriesMax - kRepeatedMax;
  static constexpr size_t kBytesMax =
      kFeedbackBatchHeaderBytes + kFeedbackEntriesMax * kFeedbackEntryBytes;

  explicit FeedbackStream(uint64_t incarnation) : incarnation_(incarnation) {}

  // False: an older entry that was never sent has been overwritten.
  bool Add(const FeedbackEntry& entry) {
    entries_[next_ % kKept] = entry;
    ++next_;
    if (next_ - sent_ <= kKept) [[likely]]
      return true;
    ++sent_;
    return false;
  }
  // Entries that have not been sent never will be. Returns how many they are.
  size_t DropUnsent() {
    const size_t dropped = unsent();
    sent_ = next_;
    return dropped;
  }
  // How many entries have never been sent.
  size_t unsent() const { return static_cast<size_t>(next_ - sent_); }
  // Of all entries, how many there have been.
  uint64_t next() const { return next_; }

  // Writes a datagram of at most `bytes_max`, which holds at least one entry, to `out`: entries
  // that are new, the oldest first, and in front of them those to be repeated, as far as there is
  // room.
  // They count as sent. Returns its length; 0: there has been no entry yet.
  size_t Write(size_t bytes_max, uint8_t* out);

 private:
  static constexpr size_t kKept = 256;
  static_assert(kKept >= kFeedbackEntriesMax && (kKept & (kKept - 1)) == 0);

  const uint64_t incarnation_;
  uint64_t next_ = 0;
  uint64_t sent_ = 0;  // those before it
  // Where the new entries of the last datagrams began, and how many datagrams there were.
  std::array<uint64_t, kGenerations> generations_ = {};
  size_t generation_ = 0;
  std::array<FeedbackEntry, kKept> entries_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_FEEDBACK_STREAM_H_
