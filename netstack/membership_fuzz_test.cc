// SPDX-License-Identifier: Apache-2.0
//
// Any messages of IGMP and MLD, while groups come and go: everything sent is well-formed, and there
// is never more of it than queries may cause. Input: steps of a byte that says what happens, a byte
// of length, and so many bytes of a message.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "weft/core/bytes.h"
#include "weft/netstack/membership.h"
#include "weft/netstack/wire/checksum.h"

namespace {

using namespace weft;
using namespace weft::netstack;

constexpr size_t kGroupsMax = 4;
constexpr int64_t kStepNs = 50'000'000;

class Wire final : public Membership::Delegate {
 public:
  void SendMembership(const IpAddress& destination, absl::Span<const uint8_t> message) override {
    ++sent;
    GroupMessage parsed;
    if (!destination.is_multicast()) std::abort();
    if (!(destination.is_v4() ? ParseIgmp : ParseMld)(message, &parsed)) std::abort();
    if (parsed.kind == GroupMessage::Kind::kQuery) std::abort();
  }
  size_t sent = 0;
};

IpAddress GroupOf(uint8_t n) {
  const uint8_t v6[16] = {0xff, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n};
  return (n & 1) != 0 ? IpAddress::V6(v6) : IpAddress::V4(0xef000000u | n);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  TimerWheel wheel(0);
  Wire wire;
  Membership groups({.groups_max = kGroupsMax}, Prng(1), &wheel, &wire);
  const uint8_t link_local[16] = {0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  int64_t now_ns = 0;
  size_t changes = 0;
  size_t steps = 0;
  while (size >= 2) {
    const uint8_t what = data[0];
    const size_t length = std::min<size_t>(data[1], size - 2);
    std::vector<uint8_t> message(data + 2, data + 2 + length);
    data += 2 + length;
    size -= 2 + length;
    ++steps;
    switch (what & 3) {
      case 0:
        if (message.size() >= 4) {  // the checksum is not what is to be found
          StoreBig16(&message[2], 0);
          StoreBig16(&message[2], Checksum(message));
        }
        groups.OnIgmp(message, IpAddress::V4(0x0a000001), now_ns);
        break;
      case 1:
        groups.OnMld(message, IpAddress::V6(link_local), true, 1, now_ns);
        break;
      case 2:
        changes += groups.Join(GroupOf(what >> 2 & 7), now_ns).ok();
        break;
      default:
        changes += groups.Leave(GroupOf(what >> 2 & 7), now_ns).ok();
        break;
    }
    if (groups.size() > kGroupsMax || wheel.size() > 2 * kGroupsMax + 2) std::abort();
    now_ns += kStepNs;
    wheel.Advance(now_ns);
  }
  // A change is told of at most seven times (the largest robustness); answers about a group, and
  // about all of a family, have 100 ms between them.
  if (wire.sent > 7 * changes + (kGroupsMax + 2) * (steps / 2 + 1)) std::abort();
  return 0;
}
