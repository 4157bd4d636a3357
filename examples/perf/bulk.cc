// SPDX-License-Identifier: Apache-2.0
#include "weft/examples/perf/bulk.h"

#include <algorithm>
#include <cstring>

#include "weft/core/bytes.h"

namespace weft::perf {
namespace {

constexpr absl::string_view kMagic = "WEFTPERF";
constexpr size_t kPeriod = 251;
constexpr size_t kPieceBytes = 65536;  // sent, or compared, at a time

// From each offset within a period on, kPieceBytes of the pattern.
const uint8_t* PatternFrom(uint64_t offset) {
  static const auto* const pattern = [] {
    auto* bytes = new std::array<uint8_t, kPeriod + kPieceBytes>;
    for (size_t i = 0; i < bytes->size(); ++i) (*bytes)[i] = static_cast<uint8_t>(i % kPeriod);
    return bytes;
  }();
  return pattern->data() + offset % kPeriod;
}

}  // namespace

std::array<uint8_t, BulkHeader::kBytes> BulkHeader::Encode() const {
  std::array<uint8_t, kBytes> bytes = {};
  std::memcpy(bytes.data(), kMagic.data(), kMagic.size());
  bytes[8] = down ? 1 : 0;
  bytes[9] = verify ? 1 : 0;
  StoreBig32(bytes.data() + 12, duration_ms);
  return bytes;
}

bool BulkHeader::Decode(absl::Span<const uint8_t> bytes) {
  if (bytes.size() != kBytes || std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0 ||
      bytes[8] > 1 || bytes[9] > 1 || bytes[10] != 0 || bytes[11] != 0) {
    return false;
  }
  down = bytes[8] == 1;
  verify = bytes[9] == 1;
  duration_ms = LoadBig32(bytes.data() + 12);
  return duration_ms <= kDurationMsMax;
}

void FillPattern(uint64_t offset, absl::Span<uint8_t> room) {
  while (!room.empty()) {
    const size_t n = std::min(room.size(), kPieceBytes);
    std::memcpy(room.data(), PatternFrom(offset), n);
    offset += n;
    room.remove_prefix(n);
  }
}

bool IsPattern(uint64_t offset, absl::Span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const size_t n = std::min(bytes.size(), kPieceBytes);
    if (std::memcmp(bytes.data(), PatternFrom(offset), n) != 0) return false;
    offset += n;
    bytes.remove_prefix(n);
  }
  return true;
}

void BulkSender::Send(tcp::Connection& connection) {
  while (!stopped_) {
    const size_t sent = connection.Send(kPieceBytes, [this](absl::Span<uint8_t> room) {
      FillPattern(bytes_, room);
      bytes_ += room.size();
      return room.size();
    });
    counters_.sent += sent;
    if (sent < kPieceBytes) return;
  }
}

void BulkReceiver::Receive(tcp::Connection& connection) {
  for (auto in = connection.ReadView(); !in.empty(); in = connection.ReadView()) {
    if (!verify_ || (good_bytes_ == bytes_ && IsPattern(bytes_, in))) good_bytes_ += in.size();
    bytes_ += in.size();
    counters_.received += in.size();
    connection.Consume(in.size());
  }
}

}  // namespace weft::perf
