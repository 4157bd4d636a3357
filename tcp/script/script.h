// SPDX-License-Identifier: Apache-2.0
//
// Scripts: dialogues between an engine, its user and its peer, on a virtual clock, as text. Each
// tests a rule of TCP. README.md has the language, testdata/ the scripts.
//
//   absl::StatusOr<Script> script = Parse("syn.tcp", R"(
//     listen 80
//     +0    < S 0 <mss 1000>
//     +0    > S. 0 ack 1 <mss 1460>
//     +0.1  < . 1 ack 1
//     accept
//   )");
//   absl::Status status = Run(*script);   // OK, or what was expected and what came instead
#ifndef WEFT_TCP_SCRIPT_SCRIPT_H_
#define WEFT_TCP_SCRIPT_SCRIPT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "weft/netstack/icmp_errors.h"
#include "weft/netstack/ip_address.h"
#include "weft/tcp/options.h"
#include "weft/tcp/script/segment_text.h"
#include "weft/tcp/script/words.h"
#include "weft/transports/stream_options.h"

namespace weft::tcp::script {

enum class Verb : uint8_t {
  // The network.
  kSay,       // < SEGMENT
  kHear,      // > SEGMENT
  kHearRest,  // > ...
  kQuiet,
  kPeer,
  kPeerIsn,
  kIcmp,
  kPathMtu,
  // The user.
  kListen,
  kStopListening,
  kConnect,
  kAccept,
  kWrite,
  kRead,
  kShutdown,
  kClose,
  kAbort,
  kOption,
  // What is to be so.
  kExpectEvent,
  kExpectState,
  kExpectStat,
  kExpectInfo,
};

// After the line before it: no time means at once. A line that expects a segment takes it between
// the two; any other one waits for `least_ns`.
struct When {
  int64_t least_ns = 0;
  int64_t most_ns = 0;
};

struct Line {
  int number = 0;    // in the file, from 1
  std::string text;  // as it stands there
  When when;
  Verb verb = Verb::kQuiet;
  bool refused = false;  // the call is to fail

  SegmentText segment;
  std::optional<int64_t> number_1, number_2;
  std::string word;  // an event, a state, the name of a counter
  Comparison comparison = Comparison::kEqual;
  netstack::IpAddress address;
  netstack::IcmpErrorReport::Kind icmp = netstack::IcmpErrorReport::Kind::kHostUnreachable;
  StreamOptions options;
};

struct Script {
  std::string name;
  std::vector<Line> lines;
  // What stands at its head.
  Options options;
  size_t mtu = 1500;
  size_t buffers = 1024;
  bool v6 = false;
};

// InvalidArgument: "NAME:LINE:COLUMN: what is wrong", for the first thing that is.
absl::StatusOr<Script> Parse(absl::string_view name, absl::string_view text);
// NotFound, PermissionDenied and so on if it cannot be read. The script's name is the path.
absl::StatusOr<Script> Load(const std::string& path);

// FailedPrecondition: what was expected at which line, what came, and all that was said so far, as
// lines of a script.
absl::Status Run(const Script& script);

// Names that expect_stat and expect_info know, and what they say.
std::optional<int64_t> StatOf(const TcpStats& stats, absl::string_view name);
std::optional<int64_t> InfoOf(const StreamInfo& info, absl::string_view name);

}  // namespace weft::tcp::script

#endif  // WEFT_TCP_SCRIPT_SCRIPT_H_
