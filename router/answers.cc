// SPDX-License-Identifier: Apache-2.0
#include "weft/router/answers.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace weft::router {

using r2p2::ControlKind;
using r2p2::DropReason;
using r2p2::ExtendedHeader;
using r2p2::kExtendedHeaderBytes;
using r2p2::kHeaderBytes;
using r2p2::MessageType;

namespace {

constexpr size_t kTimestampOffset = 32;

// Makes the buffer one of `bytes` bytes. False: there is no room.
bool Resize(size_t bytes, Buffer& buffer) {
  buffer.offload() = {};
  if (buffer.size() > bytes) buffer.TrimBack(buffer.size() - bytes);
  const size_t more = bytes - buffer.size();
  if (more > buffer.tailroom()) return false;
  buffer.Append(more);
  return true;
}

}  // namespace

void MakeDrop(DropReason reason, uint32_t key, uint32_t retry_after_us, int64_t waited_ns,
              Buffer& request) {
  ExtendedHeader question;
  r2p2::Anycast anycast;
  if (r2p2::ReadAnycast(request.bytes(), &question, &anycast)) {
    Resize(kExtendedHeaderBytes + r2p2::kDropBytes, request);
    r2p2::WriteExtendedHeader({.type = MessageType::kDrop,
                               .first = true,
                               .last = true,
                               .echo_valid = true,
                               .session = question.from_session,
                               .key = key,
                               .request_id = question.request_id,
                               .echo = question.timestamp + static_cast<uint32_t>(waited_ns),
                               .code = reason},
                              request.data());
    r2p2::WriteDrop(retry_after_us, request.data() + kExtendedHeaderBytes);
    return;
  }
  const uint16_t rid = LoadBig16(request.data() + 4);
  Resize(std::min(request.size(), kHeaderBytes + r2p2::kDropPayload.size()), request);
  r2p2::WriteHeader({.type = MessageType::kDrop, .first = true, .last = true, .request_id = rid},
                    request.data());
  std::memcpy(request.data() + kHeaderBytes, r2p2::kDropPayload.data(),
              request.size() - kHeaderBytes);
}

bool MakeControl(ControlKind kind, const ExtendedHeader& question, absl::Span<const uint8_t> body,
                 Buffer& packet, DropReason code, uint16_t credits) {
  if (!Resize(kExtendedHeaderBytes + body.size(), packet)) return false;
  r2p2::WriteExtendedHeader({.type = MessageType::kAck,
                             .first = true,
                             .last = true,
                             .echo_valid = true,
                             .session = question.from_session,
                             .from_session = question.session,
                             .key = question.key,
                             .request_id = question.request_id,
                             .echo = question.timestamp,
                             .credits = credits,
                             .kind = kind,
                             .code = code},
                            packet.data());
  if (!body.empty()) std::memcpy(packet.data() + kExtendedHeaderBytes, body.data(), body.size());
  return true;
}

bool MakeNoKeys(Buffer& packet) {
  constexpr uint8_t kInit[] = {0xD8, 1, 1, 0};  // magic, type, version, no flags
  constexpr uint8_t kNoKeys[] = {0xD8, 5, 1, 0x80};
  constexpr size_t kInitBytesMin = 64;
  constexpr size_t kConnectionOffset = 4;
  constexpr size_t kNoKeysBytes = 16;  // the attempt, which shows whom it answers, is at 8
  if (packet.size() < kInitBytesMin || std::memcmp(packet.data(), kInit, sizeof(kInit)) != 0) {
    return false;
  }
  Resize(kNoKeysBytes, packet);
  std::memcpy(packet.data(), kNoKeys, sizeof(kNoKeys));
  StoreBig32(packet.data() + kConnectionOffset, 0);
  return true;
}

void AddHoldingTime(int64_t waited_ns, Buffer& request) {
  if (request.size() < r2p2::kAnycastHeaderBytes ||
      request.data()[1] != r2p2::kAnycastHeaderBytes || waited_ns <= 0) {
    return;
  }
  uint8_t* const timestamp = request.data() + kTimestampOffset;
  StoreBig32(timestamp, LoadBig32(timestamp) + static_cast<uint32_t>(waited_ns));
  request.offload() = {};
}

}  // namespace weft::router
