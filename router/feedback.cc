// SPDX-License-Identifier: Apache-2.0
#include "weft/router/feedback.h"

#include <algorithm>

namespace weft::router {

FeedbackSources::News FeedbackSources::Accept(const r2p2::FeedbackBatch& batch, int64_t now_ns) {
  Source& source = Find(batch);
  source.heard_ns = now_ns;
  // Numbers come round after 2^64, and so may a forged one: only distances count.
  const uint64_t end = batch.first + batch.count;
  const auto ahead = static_cast<int64_t>(batch.first - source.next);
  News news;
  if (ahead > 0) {
    news.missing = static_cast<uint64_t>(ahead);
    if (news.missing > kHorizon) news.missing = 0;  // unbelievable
  } else if (static_cast<uint64_t>(-(ahead + 1)) < kHorizon) {
    news.begin = static_cast<size_t>(std::min<uint64_t>(source.next - batch.first, batch.count));
    if (news.begin == batch.count) return news;
  }
  source.next = end;
  return news;
}

FeedbackSources::Source& FeedbackSources::Find(const r2p2::FeedbackBatch& batch) {
  for (Source& source : sources_) {
    if (source.incarnation == batch.incarnation) return source;
  }
  const Source fresh = {.incarnation = batch.incarnation, .next = batch.first};
  if (sources_.size() < kSourcesMax) return sources_.emplace_back(fresh);
  Source& oldest = *std::ranges::min_element(sources_, {}, &Source::heard_ns);
  return oldest = fresh;
}

}  // namespace weft::router
