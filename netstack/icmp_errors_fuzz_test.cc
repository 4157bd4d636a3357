// SPDX-License-Identifier: Apache-2.0
//
// Received errors, and any packet as one to tell of: nothing is read beyond the bytes, an error
// that we make is whole, and what it quotes is found in it again. Input: a byte whose
// highest bit says of which family, and an error message.

#include <cstdint>
#include <cstdlib>

#include "weft/core/buffer.h"
#include "weft/netstack/icmp_errors.h"
#include "weft/netstack/wire/ipv6.h"

namespace {

using namespace weft;
using namespace weft::netstack;

void CheckAnswer(absl::Span<const uint8_t> packet, bool v6) {
  static BufferPool& pool = *new BufferPool({.count = 2, .bytes = 2048, .headroom = 128});
  const IcmpError what = v6 ? kIcmpv6PortUnreachable : kIcmpPortUnreachable;
  if (!MayReportError(packet, what, false) || packet[0] >> 4 != (v6 ? 6 : 4)) return;
  uint8_t ours[16] = {0xfd, 0, 0, 1};
  const Buffer error =
      BuildIcmpError(pool, v6 ? IpAddress::V6(ours) : IpAddress::V4(ours), 64, what, packet);
  if (!error || error.size() > (v6 ? 1280u : 576u)) std::abort();
  const size_t header = v6 ? kIpv6HeaderBytes : kIpv4HeaderBytes;
  if (MayReportError(error.bytes(), what, false)) std::abort();  // never about an error
  IcmpErrorReport report;
  if (!ParseIcmpError(error.bytes().subspan(header), v6, &report)) return;
  // It is for the sender of what it quotes.
  const uint8_t* to = error.data() + (v6 ? 24 : 16);
  if (report.source != (v6 ? IpAddress::V6(to) : IpAddress::V4(to))) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const bool v6 = (data[0] & 0x80) != 0;
  const absl::Span<const uint8_t> message(data + 1, size - 1);
  IcmpErrorReport report;
  if (ParseIcmpError(message, v6, &report) && report.source.is_v4() == v6) std::abort();
  if (message.size() > kIcmpHeaderBytes) CheckAnswer(message.subspan(kIcmpHeaderBytes), v6);
  return 0;
}
