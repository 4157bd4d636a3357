// SPDX-License-Identifier: Apache-2.0
//
// TCP headers: options and payload lie within the bytes, and the header is written back as it was
// read, but for the bits that are reserved.
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "absl/types/span.h"
#include "weft/netstack/wire/tcp.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weft::netstack;
  TcpView view;
  if (!TcpView::Parse({data, size}, &view)) return 0;
  if (view.options().data() != data + kTcpHeaderBytes ||
      view.options().size() > kTcpOptionBytesMax ||
      view.payload().data() != view.options().data() + view.options().size() ||
      view.payload().data() + view.payload().size() != data + size) {
    std::abort();
  }
  uint8_t again[kTcpHeaderBytes];
  TcpFields{.source_port = view.source_port(),
            .destination_port = view.destination_port(),
            .sequence = view.sequence(),
            .acknowledgment = view.acknowledgment(),
            .header_bytes = view.header_bytes(),
            .flags = view.flags(),
            .window = view.window(),
            .checksum = view.checksum(),
            .urgent_pointer = view.urgent_pointer()}
      .Write(again);
  again[kTcpDataOffsetOffset] |= data[kTcpDataOffsetOffset] & 0x0f;
  if (std::memcmp(again, data, sizeof(again)) != 0) std::abort();
  return 0;
}
