// SPDX-License-Identifier: Apache-2.0
//
// For fuzz tests: the way of long messages of a port (transports/bulk_transfers.h) on which fetches
// end as they are told to. Ends the program when a buffer that is exposed is used for something
// else.
#ifndef WEFT_RPC_FUZZ_BULK_H_
#define WEFT_RPC_FUZZ_BULK_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/transports/bulk_transfers.h"

namespace weft::rpc {

class FuzzBulk final : public BulkTransfers {
 public:
  static constexpr size_t kMinBytes = 1500;
  static constexpr size_t kBuffers = 3;

  // What becomes of the next fetches.
  enum class Fate : uint8_t { kRefused, kFails, kEnds, kWaits };
  Fate fate = Fate::kEnds;
  // Of Expose().
  bool exposes = true;

  // Lets fetches that wait end.
  void EndAll(bool ok) {
    for (Waiting& fetch : waiting_) End(std::move(fetch), ok);
    waiting_.clear();
  }
  // Whether everything has come back.
  bool IsIdle() const {
    return exposed_.empty() && waiting_.empty() && ended_.empty() && pool_.available() == kBuffers;
  }

  size_t max_bytes() const override { return pool_.payload_bytes(); }
  size_t buffers() const override { return kBuffers; }
  size_t available() const override { return pool_.available(); }
  Buffer Allocate(size_t bytes) override {
    if (bytes > max_bytes()) return Buffer();
    Buffer buffer = pool_.Allocate();
    for (const Exposed& exposed : exposed_) {
      if (buffer && exposed.data == buffer.data()) std::abort();
    }
    return buffer;
  }
  bool Owns(const Buffer& buffer) const override { return pool_.Owns(buffer); }
  std::optional<BulkKey> Expose(const Peer&, const Buffer& message) override {
    if (!Owns(message) || message.empty()) std::abort();
    if (!exposes) return std::nullopt;
    exposed_.push_back({++last_key_, message.data()});
    return KeyOf(last_key_);
  }
  bool IsExposed(const BulkKey& key) const override {
    return std::any_of(exposed_.begin(), exposed_.end(),
                       [&](const Exposed& exposed) { return KeyOf(exposed.key) == key; });
  }
  void Conceal(const BulkKey& key) override {
    std::erase_if(exposed_, [&](const Exposed& exposed) { return KeyOf(exposed.key) == key; });
  }
  bool Fetch(const Peer&, const BulkKey&, size_t bytes, Buffer& room, uint64_t context) override {
    if (!Owns(room) || bytes == 0 || bytes > room.tailroom()) std::abort();
    if (fate == Fate::kRefused) return false;
    Waiting fetch = {bytes, context, std::move(room)};
    if (fate == Fate::kWaits) {
      waiting_.push_back(std::move(fetch));
    } else {
      End(std::move(fetch), fate == Fate::kEnds);
    }
    return true;
  }
  size_t TakeFetched(absl::Span<Fetched> fetched) override {
    const size_t n = std::min(fetched.size(), ended_.size());
    std::move(ended_.begin(), ended_.begin() + static_cast<ptrdiff_t>(n), fetched.begin());
    ended_.erase(ended_.begin(), ended_.begin() + static_cast<ptrdiff_t>(n));
    return n;
  }

 private:
  struct Exposed {
    uint64_t key;
    const uint8_t* data;
  };
  struct Waiting {
    size_t bytes;
    uint64_t context;
    Buffer room;
  };

  static BulkKey KeyOf(uint64_t number) {
    BulkKey key;
    for (size_t i = 0; i < 8; ++i) key.bytes[i] = static_cast<uint8_t>(number >> (8 * i));
    return key;
  }
  void End(Waiting fetch, bool ok) {
    if (ok) std::fill_n(fetch.room.Append(fetch.bytes), fetch.bytes, uint8_t{0});
    ended_.push_back({fetch.context, std::move(fetch.room), ok});
  }

  BufferPool pool_{{.count = kBuffers, .bytes = 16384, .headroom = 128}};
  std::vector<Exposed> exposed_;
  std::vector<Waiting> waiting_;
  std::vector<Fetched> ended_;
  uint64_t last_key_ = 0;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_FUZZ_BULK_H_
