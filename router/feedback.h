// SPDX-License-Identifier: Apache-2.0
//
// What has been heard of the numbered FEEDBACK of one server, so that an entry that comes again, as
// each does, counts once, and one that never came is known to be missing.
//
//   FeedbackSources sources;
//   const FeedbackSources::News news = sources.Accept(batch, now_ns);
//   for (size_t i = news.begin; i < batch.count; ++i) Done(ReadFeedbackEntry(datagram, i));
//
// A server counts its entries from 0; a program with several workers behind one address sends as
// several sources, each with an incarnation of its own, in which 8 bits number them. So many are
// known at a time; the one that was silent for the longest time gives way to another. One thread.
#ifndef WEFT_ROUTER_FEEDBACK_H_
#define WEFT_ROUTER_FEEDBACK_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "weft/r2p2/route_wire.h"

namespace weft::router {

class FeedbackSources {
 public:
  static constexpr size_t kSourcesMax = 256;
  // Entries this far back do not come again in their order: the source counts anew, or somebody
  // has forged a number.
  static constexpr uint64_t kHorizon = 65536;

  struct News {
    size_t begin = 0;      // entries before this one have come before
    uint64_t missing = 0;  // entries that have not come, and will not come any more
  };
  News Accept(const r2p2::FeedbackBatch& batch, int64_t now_ns);

  size_t size() const { return sources_.size(); }

 private:
  struct Source {
    uint64_t incarnation = 0;
    uint64_t next = 0;  // number of the first entry that has not come
    int64_t heard_ns = 0;
  };
  Source& Find(const r2p2::FeedbackBatch& batch);

  std::vector<Source> sources_;
};

}  // namespace weft::router

#endif  // WEFT_ROUTER_FEEDBACK_H_
