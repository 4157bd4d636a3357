// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/secret.h"

namespace weft::tcp {
namespace {

constexpr int64_t kSequenceTickNs = 4000;  // RFC 9293, 3.4.1

}  // namespace

// A seed has half of a key's bits; both halves depend on all of them.
Secret::Secret(uint64_t seed) {
  const SipHashKey of_seed = {seed, ~seed};
  key_ = {SipHash24(of_seed, {1}), SipHash24(of_seed, {2})};
}

uint64_t Secret::Hash(Purpose purpose, const Flow& flow, uint64_t more) const {
  const uint64_t ports = uint64_t{flow.local_port} << 16 | flow.remote_port;
  return SipHash24(key_,
                   {flow.local.words()[0], flow.local.words()[1], flow.remote.words()[0],
                    flow.remote.words()[1], ports | static_cast<uint64_t>(purpose) << 32, more});
}

Seq Secret::InitialSequence(const Flow& flow, int64_t now_ns) const {
  const auto ticks = static_cast<uint32_t>(now_ns / kSequenceTickNs);
  return Seq(static_cast<uint32_t>(Hash(Purpose::kSequence, flow)) + ticks);
}

uint32_t Secret::PortOffset(const Flow& flow) const {
  Flow destination = flow;
  destination.local_port = 0;
  return static_cast<uint32_t>(Hash(Purpose::kPort, destination));
}

uint32_t Secret::TimestampOffset(const netstack::IpAddress& local,
                                 const netstack::IpAddress& remote) const {
  return static_cast<uint32_t>(Hash(Purpose::kTimestamp, {.local = local, .remote = remote}));
}

}  // namespace weft::tcp
