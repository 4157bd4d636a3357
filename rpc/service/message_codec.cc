// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/service/message_codec.h"

#include <algorithm>
#include <climits>
#include <cstring>
#include <memory>

#include "google/protobuf/io/zero_copy_stream.h"

namespace weft::rpc {
namespace {

// In front of a packet's payload, for the headers below: of R2P2, and of the netstack or a device.
constexpr size_t kHeadroomBelow = 112;

// The first `limit` bytes of a chain, for protobuf.
class ChainStream final : public google::protobuf::io::ZeroCopyInputStream {
 public:
  ChainStream(const BufferChain& chain, size_t limit)
      : next_(chain.begin()), end_(chain.end()), left_(std::min(limit, chain.size())) {}

  bool Next(const void** data, int* size) override {
    while (piece_.empty()) {
      if (next_ == end_ || left_ == 0) return false;
      piece_ = *next_;
      ++next_;
      piece_ = piece_.first(std::min(piece_.size(), left_));
    }
    handed_out_ = piece_;
    piece_ = {};
    left_ -= handed_out_.size();
    *data = handed_out_.data();
    *size = static_cast<int>(handed_out_.size());
    return true;
  }
  void BackUp(int count) override {
    piece_ = handed_out_.last(static_cast<size_t>(count));
    left_ += piece_.size();
  }
  bool Skip(int count) override {
    const void* data;
    int size;
    while (count > 0) {
      if (!Next(&data, &size)) return false;
      if (size > count) BackUp(size - count);
      count -= std::min(size, count);
    }
    return true;
  }
  int64_t ByteCount() const override { return 0; }

 private:
  BufferChain::Iterator next_;
  const BufferChain::Iterator end_;
  size_t left_;  // of the limit
  absl::Span<const uint8_t> piece_;
  absl::Span<const uint8_t> handed_out_;
};

}  // namespace

EncodedMessage AllocateMessage(BufferPool& pool, size_t size) {
  EncodedMessage encoded;
  if (size <= pool.payload_bytes()) [[likely]] {
    if (Buffer buffer = pool.Allocate()) encoded = EncodedIn(std::move(buffer), size);
    return encoded;
  }
  auto block = std::make_unique_for_overwrite<uint8_t[]>(size);
  encoded.head = block.get();
  encoded.payload = Payload::External({encoded.head, size}, [block = std::move(block)] {});
  return encoded;
}

Payload EncodeRaw(BufferPool& pool, absl::Span<const uint8_t> head, Payload payload) {
  Buffer first = payload.TakeBuffer();
  if (first && first.headroom() >= head.size() + kHeadroomBelow) {
    std::memcpy(first.Prepend(head.size()), head.data(), head.size());
    return Payload(std::move(first));
  }
  if (first) payload = Payload(std::move(first));
  // From the back, as each goes in front of what there is.
  const size_t piece_bytes = pool.payload_bytes();
  while (!head.empty()) {
    const size_t bytes = (head.size() - 1) % piece_bytes + 1;
    Buffer piece = pool.Allocate();
    if (!piece) return Payload();
    std::memcpy(piece.Append(bytes), head.last(bytes).data(), bytes);
    payload.Prepend(std::move(piece));
    head.remove_suffix(bytes);
  }
  return payload;
}

bool DecodeFragmented(const BufferChain& bytes, google::protobuf::MessageLite* message) {
  if (bytes.size() > INT_MAX) return false;
  ChainStream stream(bytes, bytes.size());
  return message->ParsePartialFromZeroCopyStream(&stream) && message->IsInitialized();
}

bool TakeMessage(BufferChain& bytes, size_t size, google::protobuf::MessageLite* message) {
  if (size > bytes.size() || size > INT_MAX) return false;
  bool good = false;
  if (size <= bytes.front().size()) [[likely]] {
    good = message->ParsePartialFromArray(bytes.front().data(), static_cast<int>(size));
  } else {
    ChainStream stream(bytes, size);
    good = message->ParsePartialFromZeroCopyStream(&stream);
  }
  bytes.TrimFront(size);
  return good && message->IsInitialized();
}

}  // namespace weft::rpc
