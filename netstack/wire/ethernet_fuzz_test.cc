// SPDX-License-Identifier: Apache-2.0
//
// Frames, and what ARP they carry: the header lies within the frame, and ARP that was understood
// is written back as it was read.
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "absl/types/span.h"
#include "weft/netstack/wire/arp.h"
#include "weft/netstack/wire/ethernet.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weft::netstack;
  EthernetView view;
  if (!EthernetView::Parse({data, size}, &view)) return 0;
  if (view.header_bytes() > size || view.tags() > 2 || view.vlan() > 0xfff) std::abort();
  if (view.header_bytes() != kEthernetHeaderBytes + kVlanTagBytes * view.tags()) std::abort();
  if (view.source_mac()[0] != view.source()[0] || view.to_group() != (data[0] & 1)) std::abort();
  if (view.type() != EtherType::kArp) return 0;
  const absl::Span<const uint8_t> body{data + view.header_bytes(), size - view.header_bytes()};
  Arp arp;
  if (!Arp::Parse(body, &arp)) return 0;
  uint8_t again[kArpBytes];
  arp.Write(again);
  if (body.size() < kArpBytes || std::memcmp(again, body.data(), kArpBytes) != 0) std::abort();
  return 0;
}
