// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/decorators/trace_writer.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <string>

namespace weft {
namespace {

constexpr size_t kBytesShown = 32;

}  // namespace

void TraceWriter::WriteDatagram(const PacketRecord& record, const Address&, const Address& peer) {
  WriteLine(record, peer.kind() == Address::Kind::kNone ? "?" : peer.ToString());
}

void TraceWriter::WriteFrame(const PacketRecord& record) {
  char mac[18] = "?";
  if (record.bytes.size() >= 12) {
    const uint8_t* p = record.bytes.data() + (record.sent ? 0 : 6);
    std::snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", p[0], p[1], p[2], p[3], p[4],
                  p[5]);
  }
  WriteLine(record, mac);
}

void TraceWriter::WriteLine(const PacketRecord& record, absl::string_view other_side) {
  if (max_records_ != 0 && records_ == max_records_) return;
  ++records_;
  char text[64];
  int n = std::snprintf(text, sizeof(text), "%" PRId64 ".%09" PRId64 " %s ",
                        record.time_ns / 1'000'000'000, record.time_ns % 1'000'000'000,
                        record.sent ? "send" : "recv");
  file_.Append({text, static_cast<size_t>(n)});
  file_.Append(other_side);
  n = std::snprintf(text, sizeof(text), " %zu ", record.bytes.size());
  file_.Append({text, static_cast<size_t>(n)});

  static constexpr char kDigits[] = "0123456789abcdef";
  char hex[2 * kBytesShown + 1];
  size_t end = 0;
  for (const uint8_t byte : record.bytes.subspan(0, kBytesShown)) {
    hex[end++] = kDigits[byte >> 4];
    hex[end++] = kDigits[byte & 15];
  }
  hex[end++] = '\n';
  file_.Append({hex, end});
}

}  // namespace weft
