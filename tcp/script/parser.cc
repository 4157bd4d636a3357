// SPDX-License-Identifier: Apache-2.0
//
// Lines of scripts. Each verb has a row in a table and a function for what follows it.
#include <fstream>
#include <iterator>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "weft/config/loader.h"
#include "weft/tcp/script/script.h"

namespace weft::tcp::script {
namespace {

constexpr int64_t kToleranceNs = 1'000'000;
constexpr int64_t kHourNs = 3600'000'000'000;

class Parser {
 public:
  explicit Parser(absl::string_view name) { script_.name = std::string(name); }

  absl::Status ParseLine(int number, absl::string_view text) {
    Words words(script_.name, number, text);
    if (words.done()) return absl::OkStatus();
    absl::Status status = ParseHead(words);
    if (status.code() != absl::StatusCode::kNotFound) return status;
    Line& line = script_.lines.emplace_back();
    line.number = number;
    line.text = std::string(absl::StripAsciiWhitespace(text));
    return ParseStep(words, line);
  }

  absl::StatusOr<Script> Finish() {
    const auto config =
        config::Parse(absl::StrCat("tcp {", config_, "}"), script_.name, config::Format::kText);
    if (!config.ok()) return config.status();
    auto options = Options::From(config->tcp());
    if (!options.ok()) return options.status();
    script_.options = *std::move(options);
    return std::move(script_);
  }

 private:
  using Step = absl::Status (*)(Words&, Line&);
  struct Row {
    absl::string_view name;
    Verb verb;
    Step arguments;
    bool may_be_refused = false;
  };
  static const Row kRows[];

  // NotFound: it is no line of the head.
  absl::Status ParseHead(Words& words) {
    if (words.Peek() != "config" && words.Peek() != "mtu" && words.Peek() != "buffers" &&
        words.Peek() != "ipv6") {
      return absl::NotFoundError("");
    }
    if (!script_.lines.empty()) {
      return words.Wrong(absl::StrCat(words.Peek(), " belongs in front of everything else"));
    }
    const absl::string_view word = words.Next();
    if (word == "config") return ParseConfig(words);
    if (word == "ipv6") {
      script_.v6 = true;
    } else {
      constexpr int64_t kMost = 1 << 20;
      const auto number = words.TakeNumber();
      if (!number) return words.Wrong("give a number");
      if (*number < 1 || *number > kMost) return words.WrongBefore("give a number above 0");
      (word == "mtu" ? script_.mtu : script_.buffers) = static_cast<size_t>(*number);
    }
    return End(words);
  }

  absl::Status ParseConfig(Words& words) {
    const std::string text(words.Rest());
    const auto config =
        config::Parse(absl::StrCat("tcp {", config_, text, "\n}"), "", config::Format::kText);
    if (!config.ok()) return words.WrongBefore(config.status().message());
    absl::StrAppend(&config_, text, "\n");
    return absl::OkStatus();
  }

  static absl::Status ParseStep(Words& words, Line& line) {
    if (words.Peek()[0] == '+') {
      absl::Status status = ParseWhen(words, line.when);
      if (!status.ok()) return status;
    }
    if (words.Take("<")) {
      line.verb = Verb::kSay;
      return ParseSegmentOf(words, /*expected=*/false, line);
    }
    if (words.Take(">")) {
      line.verb = words.Take("...") ? Verb::kHearRest : Verb::kHear;
      if (line.verb == Verb::kHearRest) return End(words);
      return ParseSegmentOf(words, /*expected=*/true, line);
    }
    line.refused = words.Take("refused");
    const absl::string_view name = words.Next();
    for (const Row* row = kRows; row->arguments != nullptr; ++row) {
      if (row->name != name) continue;
      if (line.refused && !row->may_be_refused) {
        return words.WrongBefore(absl::StrCat(name, " is never refused"));
      }
      line.verb = row->verb;
      absl::Status status = row->arguments(words, line);
      return status.ok() ? End(words) : status;
    }
    std::string known;
    for (const Row* row = kRows; row->arguments != nullptr; ++row) {
      absl::StrAppend(&known, ", ", row->name);
    }
    return words.WrongBefore(absl::StrCat("what is '", name, "'? Known are <, >", known));
  }

  // +SECONDS, +SECONDS~SECONDS, or +* for whenever.
  static absl::Status ParseWhen(Words& words, When& when) {
    absl::string_view text = words.Next();
    text.remove_prefix(1);
    if (text == "*") {
      when.most_ns = kHourNs;
      return absl::OkStatus();
    }
    const std::pair<std::string, std::string> ends = absl::StrSplit(text, absl::MaxSplits('~', 1));
    const bool range = text.find('~') != absl::string_view::npos;
    Words first("", 0, ends.first), second("", 0, ends.second);
    const auto least = first.TakeSeconds();
    const auto most = range ? second.TakeSeconds() : least;
    if (!least || !most || *most < *least || !first.done() || !second.done()) {
      return words.WrongBefore("a time is +SECONDS, +SECONDS~SECONDS, or +*");
    }
    when.least_ns = *least;
    when.most_ns = range || *least == 0 ? *most : *most + kToleranceNs;
    return absl::OkStatus();
  }

  static absl::Status ParseSegmentOf(Words& words, bool expected, Line& line) {
    auto segment = ParseSegment(words, expected);
    if (!segment.ok()) return segment.status();
    line.segment = *std::move(segment);
    return absl::OkStatus();
  }

  static absl::Status End(const Words& words) {
    return words.done() ? absl::OkStatus() : words.Wrong("this is too much");
  }

  // --- What follows verbs.
  static absl::Status Nothing(Words&, Line&) { return absl::OkStatus(); }
  static absl::Status Number(Words& words, Line& line) {
    line.number_1 = words.TakeNumber();
    if (!line.number_1 || *line.number_1 < 0) return words.Wrong("give a number");
    return absl::OkStatus();
  }
  static absl::Status MaybeNumber(Words& words, Line& line) {
    return words.done() ? absl::OkStatus() : Number(words, line);
  }
  static absl::Status MaybeNumbers(Words& words, Line& line) {
    absl::Status status = MaybeNumber(words, line);
    if (!status.ok() || words.done()) return status;
    line.number_2 = words.TakeNumber();
    return line.number_2 ? absl::OkStatus() : words.Wrong("give a number");
  }
  // peer ADDRESS PORT [OUR_PORT]; the address may be - for the usual one. Colons are marks.
  static absl::Status PeerOf(Words& words, Line& line) {
    std::string text;
    do {
      absl::StrAppend(&text, words.Next());
      while (words.Peek() == ":") absl::StrAppend(&text, words.Next());
    } while (!text.empty() && text.back() == ':' && !words.done());
    if (text != "-") {
      const auto address = netstack::IpAddress::Parse(text);
      if (!address.ok()) return words.WrongBefore(address.status().message());
      line.address = *address;
      line.word = text;
    }
    if (words.done()) return words.Wrong("give the peer's port");
    return MaybeNumbers(words, line);
  }
  static absl::Status WriteOf(Words& words, Line& line) {
    absl::Status status = Number(words, line);
    if (!status.ok() || !words.Take("takes")) return status;
    line.number_2 = words.TakeNumber();
    return line.number_2 ? absl::OkStatus() : words.Wrong("how many bytes does it take?");
  }
  static absl::Status ReadOf(Words& words, Line& line) {
    return words.Take("all") ? absl::OkStatus() : Number(words, line);
  }
  template <size_t kCount>
  static absl::Status WordOf(Words& words, Line& line, const absl::string_view (&known)[kCount]) {
    const absl::string_view word = words.Next();
    line.word = std::string(word);
    for (const absl::string_view one : known) {
      if (word == one) return absl::OkStatus();
    }
    return words.WrongBefore(absl::StrCat("known are ", absl::StrJoin(known, ", ")));
  }
  static absl::Status EventOf(Words& words, Line& line) {
    static constexpr absl::string_view kEvents[] = {
        "none", "accepted", "connected", "readable", "remote_closed", "writable", "closed"};
    absl::Status status = WordOf(words, line, kEvents);
    if (status.ok() && line.word == "closed" && !words.done()) {
      static constexpr absl::string_view kErrors[] = {
          "ETIMEDOUT", "ECONNRESET", "ECONNREFUSED", "ECONNABORTED", "EHOSTUNREACH", "ENETDOWN"};
      status = WordOf(words, line, kErrors);
    }
    return status;
  }
  static absl::Status StateOf(Words& words, Line& line) {
    static constexpr absl::string_view kStates[] = {
        "CLOSED",     "SYN-SENT",   "SYN-RECEIVED", "ESTABLISHED", "FIN-WAIT-1",
        "FIN-WAIT-2", "CLOSE-WAIT", "CLOSING",      "LAST-ACK",    "TIME-WAIT"};
    return WordOf(words, line, kStates);
  }
  static absl::Status Compared(Words& words, Line& line) {
    line.comparison = words.TakeComparison().value_or(Comparison::kEqual);
    line.number_1 = words.TakeNumber();
    return line.number_1 ? absl::OkStatus() : words.Wrong("give the number that it is to be");
  }
  static absl::Status StatLine(Words& words, Line& line) {
    line.word = std::string(words.Next());
    if (!StatOf(TcpStats(), line.word)) return words.WrongBefore("there is no such counter");
    return Compared(words, line);
  }
  static absl::Status InfoLine(Words& words, Line& line) {
    line.word = std::string(words.Next());
    if (!InfoOf(StreamInfo(), line.word)) return words.WrongBefore("StreamInfo has no such number");
    return Compared(words, line);
  }
  static absl::Status IcmpOf(Words& words, Line& line) {
    static constexpr absl::string_view kKinds[] = {
        "host_unreachable", "protocol_unreachable", "port_unreachable", "prohibited",
        "packet_too_big",   "time_exceeded",        "parameter_problem"};
    absl::Status status = WordOf(words, line, kKinds);
    if (!status.ok()) return status;
    for (size_t i = 0; i < std::size(kKinds); ++i) {
      if (line.word == kKinds[i]) line.icmp = static_cast<netstack::IcmpErrorReport::Kind>(i);
    }
    if (words.Take("mtu")) status = Number(words, line);
    if (status.ok() && words.Take("seq")) {
      line.number_2 = words.TakeNumber();
      if (!line.number_2) status = words.Wrong("give the sequence number that it quotes");
    }
    return status;
  }
  static absl::Status OptionOf(Words& words, Line& line);

  Script script_;
  std::string config_;
};

const Parser::Row Parser::kRows[] = {
    {"quiet", Verb::kQuiet, &Nothing},
    {"peer", Verb::kPeer, &PeerOf},
    {"peer_isn", Verb::kPeerIsn, &Number},
    {"icmp", Verb::kIcmp, &IcmpOf},
    {"path_mtu", Verb::kPathMtu, &Number},
    {"listen", Verb::kListen, &MaybeNumbers, true},
    {"stop_listening", Verb::kStopListening, &MaybeNumber},
    {"connect", Verb::kConnect, &MaybeNumber, true},
    {"accept", Verb::kAccept, &Nothing},
    {"write", Verb::kWrite, &WriteOf},
    {"read", Verb::kRead, &ReadOf},
    {"shutdown", Verb::kShutdown, &Nothing},
    {"close", Verb::kClose, &Nothing},
    {"abort", Verb::kAbort, &Nothing},
    {"option", Verb::kOption, &OptionOf, true},
    {"expect_event", Verb::kExpectEvent, &EventOf},
    {"expect_state", Verb::kExpectState, &StateOf},
    {"expect_stat", Verb::kExpectStat, &StatLine},
    {"expect_info", Verb::kExpectInfo, &InfoLine},
    {"", Verb::kQuiet, nullptr},
};

// NAME VALUE..., with the names of StreamOptions; true and false may be 1 and 0.
absl::Status Parser::OptionOf(Words& words, Line& line) {
  const std::pair<absl::string_view, std::optional<bool> StreamOptions::*> kBools[] = {
      {"no_delay", &StreamOptions::no_delay},
      {"cork", &StreamOptions::cork},
      {"keepalive", &StreamOptions::keepalive}};
  const std::pair<absl::string_view, std::optional<uint32_t> StreamOptions::*> kNumbers[] = {
      {"keepalive_idle_s", &StreamOptions::keepalive_idle_s},
      {"keepalive_interval_s", &StreamOptions::keepalive_interval_s},
      {"keepalive_probes", &StreamOptions::keepalive_probes},
      {"user_timeout_ms", &StreamOptions::user_timeout_ms},
      {"send_buffer_bytes", &StreamOptions::send_buffer_bytes},
      {"receive_buffer_bytes", &StreamOptions::receive_buffer_bytes}};
  const std::pair<absl::string_view, std::optional<uint8_t> StreamOptions::*> kBytes[] = {
      {"dscp", &StreamOptions::dscp}, {"ttl", &StreamOptions::ttl}};
  do {
    const absl::string_view name = words.Next();
    bool found = false;
    if (name == "congestion_control") {
      line.options.congestion_control = std::string(words.Next());
      continue;
    }
    for (const auto& [known, member] : kBools) {
      if (name != known) continue;
      found = true;
      const absl::string_view value = words.Next();
      if (value != "true" && value != "false") return words.WrongBefore("give true or false");
      line.options.*member = value == "true";
    }
    for (const auto& [known, member] : kNumbers) {
      if (name != known) continue;
      found = true;
      const auto value = words.TakeNumber();
      if (!value || *value < 0 || *value > UINT32_MAX) return words.Wrong("give a number");
      line.options.*member = static_cast<uint32_t>(*value);
    }
    for (const auto& [known, member] : kBytes) {
      if (name != known) continue;
      found = true;
      const auto value = words.TakeNumber();
      if (!value || *value < 0 || *value > UINT8_MAX) return words.Wrong("give 0 to 255");
      line.options.*member = static_cast<uint8_t>(*value);
    }
    if (!found) return words.WrongBefore("StreamOptions has no such field");
  } while (!words.done());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Script> Parse(absl::string_view name, absl::string_view text) {
  Parser parser(name);
  int number = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    absl::Status status = parser.ParseLine(++number, line);
    if (!status.ok()) return status;
  }
  return parser.Finish();
}

absl::StatusOr<Script> Load(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::ErrnoToStatus(errno, absl::StrCat("cannot read ", path));
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  return Parse(path, text);
}

}  // namespace weft::tcp::script
