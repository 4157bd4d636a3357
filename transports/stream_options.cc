// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/stream_options.h"

#include "absl/strings/str_cat.h"

namespace weft {
namespace {

template <typename T>
absl::Status InRange(absl::string_view name, const std::optional<T>& value, uint64_t min,
                     uint64_t max) {
  if (!value || (*value >= min && *value <= max)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, " is ", *value, "; it must be from ", min, " to ", max));
}

}  // namespace

std::vector<absl::string_view> StreamOptions::Names() const {
  std::vector<absl::string_view> names;
  const auto add = [&names](const auto& field, absl::string_view name) {
    if (field.has_value()) names.push_back(name);
  };
  add(no_delay, "no_delay");
  add(cork, "cork");
  add(keepalive, "keepalive");
  add(keepalive_idle_s, "keepalive_idle_s");
  add(keepalive_interval_s, "keepalive_interval_s");
  add(keepalive_probes, "keepalive_probes");
  add(user_timeout_ms, "user_timeout_ms");
  add(send_buffer_bytes, "send_buffer_bytes");
  add(receive_buffer_bytes, "receive_buffer_bytes");
  add(dscp, "dscp");
  add(ttl, "ttl");
  add(congestion_control, "congestion_control");
  return names;
}

absl::Status StreamOptions::Validate() const {
  absl::Status status = InRange("keepalive_idle_s", keepalive_idle_s, 1, 32767);
  status.Update(InRange("keepalive_interval_s", keepalive_interval_s, 1, 32767));
  status.Update(InRange("keepalive_probes", keepalive_probes, 1, 127));
  status.Update(InRange("user_timeout_ms", user_timeout_ms, 0, INT32_MAX));
  status.Update(InRange("send_buffer_bytes", send_buffer_bytes, 1, 1 << 30));
  status.Update(InRange("receive_buffer_bytes", receive_buffer_bytes, 1, 1 << 30));
  status.Update(InRange("dscp", dscp, 0, 63));
  status.Update(InRange("ttl", ttl, 1, 255));
  return status;
}

absl::string_view StreamStateName(StreamInfo::State state) {
  switch (state) {
    case StreamInfo::State::kClosed:
      return "CLOSED";
    case StreamInfo::State::kListen:
      return "LISTEN";
    case StreamInfo::State::kSynSent:
      return "SYN-SENT";
    case StreamInfo::State::kSynReceived:
      return "SYN-RECEIVED";
    case StreamInfo::State::kEstablished:
      return "ESTABLISHED";
    case StreamInfo::State::kFinWait1:
      return "FIN-WAIT-1";
    case StreamInfo::State::kFinWait2:
      return "FIN-WAIT-2";
    case StreamInfo::State::kCloseWait:
      return "CLOSE-WAIT";
    case StreamInfo::State::kClosing:
      return "CLOSING";
    case StreamInfo::State::kLastAck:
      return "LAST-ACK";
    case StreamInfo::State::kTimeWait:
      return "TIME-WAIT";
  }
  return "";
}

absl::string_view RecoveryName(StreamInfo::Recovery recovery) {
  switch (recovery) {
    case StreamInfo::Recovery::kOpen:
      return "open";
    case StreamInfo::Recovery::kDisorder:
      return "disorder";
    case StreamInfo::Recovery::kReducing:
      return "reducing";
    case StreamInfo::Recovery::kRecovery:
      return "recovery";
    case StreamInfo::Recovery::kTimeout:
      return "timeout";
  }
  return "";
}

}  // namespace weft
