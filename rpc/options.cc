// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/options.h"

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "weft/rpc/wire.h"

namespace weft::rpc {
namespace {

constexpr size_t kSlotsMax = 4096;
constexpr size_t kCreditsMax = 4096;
constexpr size_t kSessionsMax = size_t{1} << 22;

absl::Status CheckRange(const char* name, size_t value, size_t min, size_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, " is ", value, "; it must be ", min, " to ", max));
}

absl::StatusOr<std::shared_ptr<const Security>> OpenSecurity(const config::Config& config) {
  if (!config.has_security()) return nullptr;
  return Security::Open(config.security());
}

CongestionOptions FromCongestion(const config::Congestion& config) {
  const config::Swift& swift = config.swift();
  return {
      .algorithm = absl::AsciiStrToLower(config::Congestion::Algorithm_Name(config.algorithm())),
      .window_initial_packets = config.window_initial_packets(),
      .window_max_packets = config.window_max_packets(),
      .window_min_packets = swift.window_min_packets(),
      .target_delay_ns = int64_t{swift.target_delay_us()} * 1000,
      .target_range_ns = int64_t{swift.target_range_us()} * 1000,
      .target_range_packets_min = swift.target_range_packets_min(),
      .target_range_packets_max = swift.target_range_packets_max(),
      .increase_packets = swift.increase_packets(),
      .decrease_factor = swift.decrease_factor(),
      .decrease_max = swift.decrease_max(),
      .timeouts_max = swift.timeouts_max(),
  };
}

}  // namespace

absl::Status SessionOptions::Validate() const {
  absl::Status status;
  status.Update(CheckRange("slots", slots, 1, kSlotsMax));
  status.Update(CheckRange("credits", credits, 1, kCreditsMax));
  status.Update(CheckRange("sessions_max", sessions_max, 1, kSessionsMax));
  status.Update(CheckRange("message_bytes_max", message_bytes_max, 1, size_t{1} << 30));
  if (packet_bytes_max != 0) {
    status.Update(
        CheckRange("packet_bytes_max", packet_bytes_max, kExtendedPacketBytesMin, UINT16_MAX));
  }
  if (timeout < absl::Milliseconds(1) || timeout > absl::Hours(1)) {
    status.Update(absl::InvalidArgumentError("timeout must be 1 ms to 1 h"));
  }
  if (rto_min <= absl::ZeroDuration() || rto_min > rto_max || rto_initial > rto_max) {
    status.Update(absl::InvalidArgumentError(
        "rto_min must be greater than zero, and neither it nor rto_initial more than rto_max"));
  }
  status.Update(congestion.Validate());
  return status;
}

SessionOptions SessionOptions::From(const config::Rpc& config) {
  return {
      .timeout = absl::Microseconds(config.session().timeout_us()),
      .slots = config.session().slots(),
      .credits = config.session().credits(),
      .packet_bytes_max = config.session().packet_bytes_max(),
      .sessions_max = config.session().sessions_max(),
      .message_bytes_max = config.message_bytes_max(),
      .rto_min = absl::Microseconds(config.retransmission().rto_min_us()),
      .rto_max = absl::Microseconds(config.retransmission().rto_max_us()),
      .rto_initial = absl::Microseconds(config.retransmission().rto_initial_us()),
      .congestion = FromCongestion(config.congestion()),
  };
}

absl::StatusOr<ClientOptions> ClientOptions::From(const config::Config& config) {
  auto security = OpenSecurity(config);
  if (!security.ok()) return security.status();
  const config::Rpc& rpc = config.rpc();
  return ClientOptions{
      .policy = static_cast<Policy>(rpc.policy()),
      .timeout = absl::Microseconds(rpc.timeout_us()),
      .outstanding_max = rpc.outstanding_max(),
      .message_packets_max = rpc.message_packets_max(),
      .wire = static_cast<Wire>(rpc.wire()),
      .negotiation_timeout = absl::Microseconds(rpc.session().negotiation_timeout_us()),
      .session = SessionOptions::From(rpc),
      .security = *std::move(security),
  };
}

absl::StatusOr<ServerOptions> ServerOptions::From(const config::Config& config) {
  auto security = OpenSecurity(config);
  if (!security.ok()) return security.status();
  const config::Rpc& rpc = config.rpc();
  ServerOptions options{
      .message_packets_max = rpc.message_packets_max(),
      .messages_max = rpc.reassembly().messages_max(),
      .messages_per_peer_max = rpc.reassembly().messages_per_peer_max(),
      .reassembly_timeout = absl::Microseconds(rpc.reassembly().timeout_us()),
      .session = SessionOptions::From(rpc),
      .reply_cache_time = absl::Microseconds(rpc.reply_cache().time_us()),
      .reply_cache_bytes_max = rpc.reply_cache().bytes_max(),
      .executing_max = rpc.overload().executing_max(),
      .security = *std::move(security),
  };
  auto router = RouterOptions::From(rpc.router());
  if (!router.ok()) return router.status();
  options.router = *std::move(router);
  return options;
}

std::shared_ptr<const Security> Plaintext() {
  config::Security config;
  config.mutable_plaintext();
  return *Security::Open(config);
}

}  // namespace weft::rpc
