// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/session_log.h"

#include <string>

#include "absl/status/statusor.h"
#include "weft/core/log.h"

namespace weft::rpc {
namespace {

constexpr int64_t kNsPerMs = 1'000'000;

LogLevel LevelOf(SessionEvent::Kind kind) {
  switch (kind) {
    case SessionEvent::Kind::kOpened:
    case SessionEvent::Kind::kClosed:
      return LogLevel::kDebug;
    case SessionEvent::Kind::kDraining:
    case SessionEvent::Kind::kLost:
    case SessionEvent::Kind::kOriginal:
      return LogLevel::kInfo;
    case SessionEvent::Kind::kRefused:
      return LogLevel::kWarning;
  }
  return LogLevel::kInfo;
}

const char* MessageOf(SessionEvent::Kind kind) {
  switch (kind) {
    case SessionEvent::Kind::kOpened:
      return "session opened";
    case SessionEvent::Kind::kDraining:
      return "session drains: the server wants no more requests";
    case SessionEvent::Kind::kClosed:
      return "session closed";
    case SessionEvent::Kind::kLost:
      return "session lost";
    case SessionEvent::Kind::kRefused:
      return "session refused";
    case SessionEvent::Kind::kOriginal:
      return "no session: the server speaks the original format only";
  }
  return "";
}

}  // namespace

void LogSessionEvent(const SessionEvent& event, const DatagramPort& port) {
  const LogLevel level = LevelOf(event.kind);
  if (!LogEnabled(level)) return;
  const absl::StatusOr<Address> peer = port.AddressOf(event.peer);
  Log(level, MessageOf(event.kind),
      {{"local", port.local_address().ToString()},
       {"peer", peer.ok() ? peer->ToString() : "gone"},
       {"session", event.session},
       {"age_ms", event.age_ns / kNsPerMs}});
}

}  // namespace weft::rpc
