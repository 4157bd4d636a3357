// SPDX-License-Identifier: Apache-2.0
//
// ICMP headers and neighbour discovery: a message that was understood is understood the same when
// it is written again.
#include <cstdint>
#include <cstdlib>

#include "absl/types/span.h"
#include "weft/netstack/wire/icmp.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weft::netstack;
  IcmpView view;
  if (!IcmpView::Parse({data, size}, &view)) return 0;
  if (view.body().size() + kIcmpHeaderBytes != size) std::abort();
  if (view.rest() != (uint32_t{view.id()} << 16 | view.sequence())) std::abort();
  NeighborMessage message;
  if (!NeighborMessage::Parse({data, size}, &message)) return 0;
  if (message.target.is_multicast() || message.target.is_v4()) std::abort();
  uint8_t bytes[32];
  const size_t n = message.Write(bytes);
  NeighborMessage again;
  if (n > size || !NeighborMessage::Parse({bytes, n}, &again)) std::abort();
  if (again.advertisement != message.advertisement || again.router != message.router ||
      again.solicited != message.solicited || again.override != message.override ||
      again.target != message.target || again.has_mac != message.has_mac ||
      again.mac != message.mac) {
    std::abort();
  }
  return 0;
}
