// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/feedback_stream.h"

#include <algorithm>

namespace weft::rpc {

size_t FeedbackStream::Write(size_t bytes_max, uint8_t* out) {
  const uint64_t room = std::min<uint64_t>(
      kFeedbackEntriesMax, (bytes_max - kFeedbackBatchHeaderBytes) / kFeedbackEntryBytes);
  const uint64_t fresh = std::min<uint64_t>(unsent(), room);
  const uint64_t oldest = generations_[generation_ % kGenerations];
  const uint64_t repeated = std::min(
      {sent_ - std::min(oldest, sent_), uint64_t{kRepeatedMax}, room - fresh, kKept - unsent()});
  if (fresh + repeated == 0) return 0;
  const uint64_t first = sent_ - repeated;
  const auto count = static_cast<size_t>(fresh + repeated);
  WriteFeedbackBatch({incarnation_, first, count}, out);
  uint8_t* p = out + kFeedbackBatchHeaderBytes;
  for (uint64_t i = first; i < first + count; ++i, p += kFeedbackEntryBytes) {
    WriteFeedbackEntry(entries_[i % kKept], p);
  }
  if (fresh > 0) {
    generations_[generation_++ % kGenerations] = sent_;
    sent_ += fresh;
  }
  return static_cast<size_t>(p - out);
}

}  // namespace weft::rpc
