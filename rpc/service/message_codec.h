// SPDX-License-Identifier: Apache-2.0
//
// Messages to bytes and back: protobuf in the packet itself where it fits in one, and RawBytes as
// they are. Not for users.
//
//   EncodedMessage encoded = EncodeMessage(pool, head.bytes(), request);
//   WriteRequestHead(head, encoded.head);
//   client.Call(target, std::move(encoded.payload), ...);
//
//   if (!DecodeMessage(body, &message)) ...  // from one piece or many
//
// How the types of a method look in C++: a message is `const M&` to send and `M*` to receive;
// RawBytes are a Payload and a BufferChain.
#ifndef WEFT_RPC_SERVICE_MESSAGE_CODEC_H_
#define WEFT_RPC_SERVICE_MESSAGE_CODEC_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "absl/types/span.h"
#include "google/protobuf/message_lite.h"
#include "weft/core/buffer.h"
#include "weft/core/buffer_chain.h"
#include "weft/rpc/payload.h"
#include "weft/rpc/service/raw_bytes.pb.h"

namespace weft::rpc {

template <typename M>
inline constexpr bool kIsRaw = std::is_same_v<M, RawBytes>;

// What is received of a message type: itself, or a BufferChain of RawBytes.
template <typename M>
using Received = std::conditional_t<kIsRaw<M>, BufferChain, M>;
// What is sent: itself, or a Payload.
template <typename M>
using Sent = std::conditional_t<kIsRaw<M>, Payload, M>;

struct EncodedMessage {
  // No bytes at all: no buffer was left.
  Payload payload;
  // Where the first `head_bytes` of it are, to be written.
  uint8_t* head = nullptr;
};

// `size` bytes of `buffer`, which is empty and has room for them.
inline EncodedMessage EncodedIn(Buffer buffer, size_t size) {
  EncodedMessage encoded;
  encoded.head = buffer.Append(size);
  encoded.payload = Payload(std::move(buffer));
  return encoded;
}

// Room for `size` bytes: a buffer of `pool` when it fits one, else a block of memory of its own.
// `head` is null when the pool is empty.
EncodedMessage AllocateMessage(BufferPool& pool, size_t size);

// `message` behind room for `head_bytes` bytes. A message is at most 2 GiB.
template <typename M>
EncodedMessage EncodeMessage(BufferPool& pool, size_t head_bytes, const M& message) {
  const size_t size = head_bytes + message.ByteSizeLong();
  EncodedMessage encoded = AllocateMessage(pool, size);
  if (encoded.head != nullptr) [[likely]] {
    message.SerializeWithCachedSizesToArray(encoded.head + head_bytes);
  }
  return encoded;
}

// `head` and then `payload`, of which no copy is made: `head` goes into the headroom of its buffer
// when it is one and has room for the headers below too, else into buffers in front. No bytes at
// all: the pool is empty.
Payload EncodeRaw(BufferPool& pool, absl::Span<const uint8_t> head, Payload payload);

// Reads all of `bytes`. False, with `message` in any state, if they are no such message or one
// without its required fields.
template <typename M>
bool DecodeMessage(absl::Span<const uint8_t> bytes, M* message) {
  // ParseFromArray() would write to the log what the other side has done wrong.
  return message->ParsePartialFromArray(bytes.data(), static_cast<int>(bytes.size())) &&
         message->IsInitialized();
}
bool DecodeFragmented(const BufferChain& bytes, google::protobuf::MessageLite* message);

template <typename M>
bool DecodeMessage(const BufferChain& bytes, M* message) {
  if (bytes.pieces() <= 1) [[likely]]
    return DecodeMessage(bytes.front(), message);
  return DecodeFragmented(bytes, message);
}

// Reads the first `size` bytes of `bytes` into `message` and takes them off. False if there are
// fewer, or they are no such message.
bool TakeMessage(BufferChain& bytes, size_t size, google::protobuf::MessageLite* message);

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_MESSAGE_CODEC_H_
