// SPDX-License-Identifier: Apache-2.0
//
// UDP headers: the payload lies within the bytes, and the header is written back as it was read.
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "absl/types/span.h"
#include "weft/netstack/wire/udp.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weft::netstack;
  UdpView view;
  if (!UdpView::Parse({data, size}, &view)) return 0;
  if (view.payload() + view.payload_bytes() > data + size) std::abort();
  uint8_t again[kUdpHeaderBytes];
  WriteUdp(again, view.source_port(), view.destination_port(),
           static_cast<uint16_t>(view.length_bytes()), view.checksum());
  if (std::memcmp(again, data, sizeof(again)) != 0) std::abort();
  return 0;
}
