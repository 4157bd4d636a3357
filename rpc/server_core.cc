// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/server_core.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace weft::rpc {
namespace {

constexpr int64_t kPeriodNs = 10'000'000;
constexpr double kRetryAfterUsMin = 100;
constexpr double kRetryAfterUsMax = 1'000'000;
constexpr uint32_t kRetryAfterUsUnknown = 10'000;

}  // namespace

ServerCore::ServerCore(Loop& loop, std::unique_ptr<DatagramPort> port, const ServerOptions& options)
    : loop(loop),
      port(std::move(port)),
      options(options),
      bulk(*this->port),
      sending(this->port->pool().count(), &stats.send_overflows),
      buffers_(this->port->pool().count()),
      credits_most_(static_cast<uint16_t>(
          std::max<size_t>(1, std::min<size_t>(options.session.credits, buffers_ / 4)))),
      period_began_ns_(loop.now_ns()) {
  BeginBurst();
}

uint32_t ServerCore::RetryAfterUs() {
  const auto waiting = static_cast<uint64_t>(stats.executing.value() + stats.parked.value());
  const uint64_t ended = stats.requests - waiting;
  const int64_t elapsed_ns = loop.now_ns() - period_began_ns_;
  if (elapsed_ns >= kPeriodNs) {
    if (ended > period_began_at_) {
      ns_per_call_ =
          static_cast<double>(elapsed_ns) / static_cast<double>(ended - period_began_at_);
    }
    period_began_ns_ = loop.now_ns();
    period_began_at_ = ended;
  }
  if (ns_per_call_ == 0) return kRetryAfterUsUnknown;
  const double half = static_cast<double>(stats.executing.value()) / 2;
  return static_cast<uint32_t>(
      std::clamp(half * ns_per_call_ / 1000, kRetryAfterUsMin, kRetryAfterUsMax));
}

absl::Status ServerCore::NoRoom(size_t packets) {
  ++stats.send_overflows;
  return absl::ResourceExhaustedError(absl::StrCat(
      "a reply of ", packets, " packets found no buffers, or no room to wait for the port"));
}

}  // namespace weft::rpc
