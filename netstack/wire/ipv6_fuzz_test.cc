// SPDX-License-Identifier: Apache-2.0
//
// IPv6 packets with chains of extension headers: what a chain points to lies within the packet.
#include <cstdint>
#include <cstdlib>

#include "absl/types/span.h"
#include "weft/netstack/wire/ipv6.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weft::netstack;
  using Verdict = Ipv6Chain::Verdict;
  const auto require = [](bool holds) {
    if (!holds) std::abort();
  };
  Ipv6View view;
  if (!Ipv6View::Parse({data, size}, &view)) return 0;
  require(view.total_bytes() <= size && view.source().is_v6() && view.destination().is_v6());
  const Ipv6Chain chain = WalkIpv6(view);
  const uint8_t* const end = data + view.total_bytes();
  require(chain.next_header_offset < view.total_bytes());
  switch (chain.verdict) {
    case Verdict::kUpperLayer:
      require(data[chain.next_header_offset] == static_cast<uint8_t>(chain.protocol));
      require(chain.payload >= view.payload() && chain.payload + chain.payload_bytes == end);
      break;
    case Verdict::kFragment:
      require(data[chain.next_header_offset] == static_cast<uint8_t>(IpProtocol::kFragment));
      require(chain.payload >= view.payload() + kIpv6FragmentHeaderBytes);
      require(chain.payload + chain.payload_bytes == end);
      require(chain.fragment.offset_bytes % 8 == 0);
      break;
    case Verdict::kUnknownHeader:
    case Verdict::kUnknownOption:
    case Verdict::kBadHeader:
      require(chain.problem_offset < view.total_bytes());
      break;
    case Verdict::kMalformed:
    case Verdict::kDropSilently:
      require(view.payload_bytes() == 0 || chain.payload == nullptr);
      break;
  }
  return 0;
}
