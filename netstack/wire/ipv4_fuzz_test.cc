// SPDX-License-Identifier: Apache-2.0
//
// IPv4 headers: payload and header lie within the bytes, and what is written from the fields of a
// header without options is read as the same fields, with a good checksum.
#include <cstdint>
#include <cstdlib>

#include "absl/types/span.h"
#include "weft/netstack/wire/ipv4.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weft::netstack;
  Ipv4View view;
  if (!Ipv4View::Parse({data, size}, &view)) return 0;
  if (view.header_bytes() < kIpv4HeaderBytes || view.total_bytes() > size) std::abort();
  if (view.payload() + view.payload_bytes() != data + view.total_bytes()) std::abort();
  (void)view.ChecksumIsGood();

  uint8_t again[kIpv4HeaderBytes];
  Ipv4Fields{.tos = view.tos(),
             .total_bytes = kIpv4HeaderBytes,
             .id = view.id(),
             .dont_fragment = view.dont_fragment(),
             .more_fragments = view.more_fragments(),
             .fragment_offset_bytes = static_cast<uint16_t>(view.fragment_offset_bytes()),
             .ttl = view.ttl(),
             .protocol = view.protocol(),
             .source = view.source(),
             .destination = view.destination()}
      .Write(again);
  Ipv4View copy;
  if (!Ipv4View::Parse(again, &copy) || !copy.ChecksumIsGood()) std::abort();
  if (copy.tos() != view.tos() || copy.id() != view.id() || copy.ttl() != view.ttl() ||
      copy.protocol() != view.protocol() || copy.source() != view.source() ||
      copy.destination() != view.destination() || copy.is_fragment() != view.is_fragment() ||
      copy.dont_fragment() != view.dont_fragment() ||
      copy.more_fragments() != view.more_fragments() ||
      copy.fragment_offset_bytes() != view.fragment_offset_bytes()) {
    std::abort();
  }
  return 0;
}
