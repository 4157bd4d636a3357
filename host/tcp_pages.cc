// SPDX-License-Identifier: Apache-2.0
#include "weft/host/tcp_pages.h"

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "weft/core/clock.h"
#include "weft/core/json_writer.h"
#include "weft/host/worker_page.h"
#include "weft/netstack/ip_address.h"

namespace weft {
namespace {

using netstack::IpAddress;
using netstack::IpPrefix;
using State = StreamInfo::State;

constexpr int64_t kNsPerMs = 1'000'000;
constexpr int64_t kAnswerNs = 4'000 * kNsPerMs;
constexpr size_t kLooksMax = 16;  // of each worker: as many as the server takes requests
// In a turn of a worker's loop: to pass over a connection takes two cache lines, to write about one
// some microseconds.
constexpr size_t kPlacesPassed = 1024;
constexpr size_t kPlacesWritten = 64;

HttpResponse Refuse(int status, absl::string_view why) {
  return {.status = status, .body = absl::StrCat(why, "\n")};
}

constexpr uint32_t BitOf(State state) { return 1u << static_cast<int>(state); }

constexpr uint32_t kAllStates = (BitOf(State::kTimeWait) << 1) - 1;

// 0: there is no such state.
uint32_t StatesOf(absl::string_view name) {
  const std::string upper = absl::AsciiStrToUpper(name);
  for (int i = 0; i <= static_cast<int>(State::kTimeWait); ++i) {
    if (upper == StreamStateName(static_cast<State>(i))) return 1u << i;
  }
  // Those of ss(8).
  if (upper == "SYN-RECV") return BitOf(State::kSynReceived);
  if (upper == "CLOSE") return BitOf(State::kClosed);
  if (upper == "ALL") return kAllStates;
  const uint32_t connected = kAllStates & ~(BitOf(State::kListen) | BitOf(State::kClosed));
  if (upper == "CONNECTED") return connected;
  if (upper == "SYNCHRONIZED") return connected & ~BitOf(State::kSynSent);
  const uint32_t bucket = BitOf(State::kTimeWait) | BitOf(State::kSynReceived);
  if (upper == "BUCKET") return bucket;
  if (upper == "BIG") return kAllStates & ~bucket;
  return 0;
}

// One end of connections: those whose address is in the network and whose port is this one.
struct End {
  std::optional<IpPrefix> network;
  uint16_t port = 0;  // 0: any

  bool Takes(const IpAddress& address, uint16_t its_port) const {
    return (port == 0 || port == its_port) && (!network || network->Contains(address));
  }
};

absl::StatusOr<End> ParseEnd(absl::string_view name, const std::string& text) {
  const auto wrong = [&] {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": '", text, "' is none of ADDRESS, NETWORK/LENGTH, :PORT and both, as ",
                     "10.0.0.0/24:443 or [fd00::1]:443"));
  };
  absl::string_view address = text;
  absl::string_view port;
  const size_t colon = address.rfind(':');
  const bool one_colon = colon != address.npos && address.find(':') == colon;
  if (absl::ConsumePrefix(&address, "[")) {
    const size_t end = address.find(']');
    if (end == address.npos) return wrong();
    port = address.substr(end + 1);
    address = address.substr(0, end);
    if (!port.empty() && !absl::ConsumePrefix(&port, ":")) return wrong();
    if (address.empty()) return wrong();
  } else if (one_colon) {  // else an address of IPv6, or no port
    port = address.substr(colon + 1);
    address = address.substr(0, colon);
    if (port.empty()) return wrong();
  }
  End end;
  uint32_t number = 0;
  if (!port.empty()) {
    if (!absl::SimpleAtoi(port, &number) || number == 0 || number > UINT16_MAX) return wrong();
    end.port = static_cast<uint16_t>(number);
  }
  if (!address.empty()) {
    if (address.find('/') != address.npos) {
      const auto network = IpPrefix::Parse(address);
      if (!network.ok()) return wrong();
      end.network = *network;
    } else {
      const auto one = IpAddress::Parse(address);
      if (!one.ok()) return wrong();
      end.network = IpPrefix{*one, static_cast<uint8_t>(one->is_v4() ? 32 : 128)};
    }
  } else if (port.empty()) {
    return wrong();
  }
  return end;
}

struct Query {
  size_t limit = TcpPages::kLimitDefault;
  uint32_t states = kAllStates;
  End local;
  End remote;

  bool takes_all() const {
    return states == kAllStates && !local.network && local.port == 0 && !remote.network &&
           remote.port == 0;
  }
  bool Takes(const tcp::Flow& flow, State state) const {
    return (states & BitOf(state)) != 0 && local.Takes(flow.local, flow.local_port) &&
           remote.Takes(flow.remote, flow.remote_port);
  }
};

absl::StatusOr<Query> ReadQuery(const HttpRequest& request) {
  Query query;
  int64_t limit = TcpPages::kLimitDefault;
  absl::Status status = GetNumber(request, "limit", 0, TcpPages::kLimitMax, &limit);
  if (!status.ok()) return status;
  query.limit = static_cast<size_t>(limit);
  if (const auto states = request.query.find("state"); states != request.query.end()) {
    query.states = 0;
    for (const absl::string_view name : absl::StrSplit(states->second, ',')) {
      const uint32_t named = StatesOf(name);
      if (named == 0) {
        return absl::InvalidArgumentError(absl::StrCat(
            "state: '", name, "' is no state of TCP, such as ESTABLISHED or TIME-WAIT"));
      }
      query.states |= named;
    }
  }
  for (const auto& [name, end] : {std::pair{"local", &query.local}, {"remote", &query.remote}}) {
    const auto found = request.query.find(name);
    if (found == request.query.end()) continue;
    auto parsed = ParseEnd(name, found->second);
    if (!parsed.ok()) return parsed.status();
    *end = *parsed;
  }
  return query;
}

void WriteInfo(const StreamInfo& info, JsonWriter& json) {
  const auto field = [&json](const char* name, auto value) {
    if (value != 0) json.Field(name, value);
  };
#define WEFT_FIELD(name) field(#name, info.name)
  WEFT_FIELD(timestamps);
  WEFT_FIELD(sack);
  WEFT_FIELD(window_scaling);
  WEFT_FIELD(ecn);
  field("send_window_scale", int{info.send_window_scale});
  field("receive_window_scale", int{info.receive_window_scale});
  if (!info.congestion_control.empty()) json.Field("congestion_control", info.congestion_control);
  WEFT_FIELD(rtt_us);
  WEFT_FIELD(rttvar_us);
  WEFT_FIELD(min_rtt_us);
  WEFT_FIELD(rto_us);
  WEFT_FIELD(backoff);
  WEFT_FIELD(receive_rtt_us);
  if (info.recovery != StreamInfo::Recovery::kOpen) {
    json.Field("recovery", RecoveryName(info.recovery));
  }
  WEFT_FIELD(cwnd_bytes);
  if (info.ssthresh_bytes != UINT32_MAX) WEFT_FIELD(ssthresh_bytes);
  WEFT_FIELD(send_window_bytes);
  WEFT_FIELD(receive_window_bytes);
  WEFT_FIELD(path_mtu_bytes);
  WEFT_FIELD(send_mss_bytes);
  WEFT_FIELD(receive_mss_bytes);
  WEFT_FIELD(unacked_segments);
  WEFT_FIELD(sacked_segments);
  WEFT_FIELD(lost_segments);
  WEFT_FIELD(retransmitted_segments);
  WEFT_FIELD(unread_bytes);
  WEFT_FIELD(unacked_bytes);
  WEFT_FIELD(unsent_bytes);
  WEFT_FIELD(bytes_sent);
  WEFT_FIELD(bytes_acked);
  WEFT_FIELD(bytes_received);
  WEFT_FIELD(bytes_retransmitted);
  WEFT_FIELD(segments_sent);
  WEFT_FIELD(segments_received);
  WEFT_FIELD(segments_out_of_order);
  WEFT_FIELD(retransmissions);
  WEFT_FIELD(delivered_segments);
  WEFT_FIELD(delivered_ce_segments);
  WEFT_FIELD(dsack_duplicates);
  WEFT_FIELD(reordering_seen);
  WEFT_FIELD(delivery_rate_bytes);
  if (info.pacing_rate_bytes != UINT64_MAX) WEFT_FIELD(pacing_rate_bytes);
  WEFT_FIELD(busy_us);
  WEFT_FIELD(receive_window_limited_us);
  WEFT_FIELD(send_buffer_limited_us);
  WEFT_FIELD(last_sent_ms);
  WEFT_FIELD(last_received_ms);
#undef WEFT_FIELD
}

// What the workers have said; looks end when nobody waits for it any more.
struct Answers {
  std::mutex mutex;
  std::vector<std::optional<std::string>> texts;  // guarded by mutex
};

// One worker's look at what it has.
class Look : public std::enable_shared_from_this<Look> {
 public:
  Look(size_t worker, Loop& loop, tcp::TcpTransport& tcp, const Query& query,
       const std::shared_ptr<Answers>& answers, std::shared_ptr<std::atomic<size_t>> looks)
      : worker_(worker),
        loop_(loop),
        tcp_(tcp),
        query_(query),
        answers_(answers),
        looks_(std::move(looks)) {
    ++*looks_;
  }
  ~Look() { --*looks_; }

  // Any thread.
  void Continue() {
    loop_.Post([self = shared_from_this()] { self->Turn(); });
  }

 private:
  void Turn() {
    const std::shared_ptr<Answers> answers = answers_.lock();
    if (answers == nullptr) return;
    const std::shared_ptr<tcp::Endpoint> endpoint = tcp_.EndpointOfThisThread();
    if (endpoint != nullptr && LookAtSome(*endpoint)) {
      Continue();
      return;
    }
    std::string text = Describe(endpoint.get());
    const std::lock_guard<std::mutex> lock(answers->mutex);
    answers->texts[worker_] = std::move(text);
  }

  // False: that was all, or enough.
  bool LookAtSome(const tcp::Endpoint& endpoint) {
    const bool enough = connections_.size() >= query_.limit;
    if (enough && (query_.takes_all() || query_.limit == 0)) return false;
    return endpoint.engine().Look(
        &scan_, enough ? kPlacesPassed : kPlacesWritten, endpoint.now_ns(),
        [this](const tcp::Flow& flow, State state) {
          if (!query_.Takes(flow, state)) return false;
          return ++matching_ <= query_.limit;
        },
        [this](StreamId, const tcp::Flow& flow, const StreamInfo& info) { Describe(flow, info); });
  }

  void Describe(const tcp::Flow& flow, const StreamInfo& info) {
    json_.Clear();
    json_.BeginObject();
    json_.Field("state", StreamStateName(info.state));
    json_.Field("local", flow.local.ToAddress(flow.local_port).ToString());
    json_.Field("remote", flow.remote.ToAddress(flow.remote_port).ToString());
    WriteInfo(info, json_);
    json_.EndObject();
    connections_.push_back(json_.text());
  }

  std::string Describe(const tcp::Endpoint* endpoint) {
    json_.Clear();
    json_.BeginObject();
    json_.Field("worker", worker_);
    if (endpoint == nullptr) {
      json_.EndObject();
      return json_.text();
    }
    const tcp::TcpStats& stats = endpoint->engine().stats();
    if (!endpoint->status().ok()) json_.Field("device_error", endpoint->status().message());
    json_.Key("stats").BeginObject();
    stats.WriteTo(json_);
    json_.EndObject();
    DescribeListeners(endpoint->engine());
    const auto total = static_cast<size_t>(stats.connections.value() + stats.time_wait.value());
    json_.Field("connections_total", total);
    if (query_.limit > 0) json_.Field("matching", query_.takes_all() ? total : matching_);
    json_.EndObject();
    std::string head = json_.text();
    head.pop_back();
    const char* const indent = connections_.empty() ? "" : "\n";
    return absl::StrCat(head, ",\"connections\":[", indent, absl::StrJoin(connections_, ",\n"),
                        indent, "]}");
  }

  void DescribeListeners(const tcp::Engine& engine) {
    size_t total = 0;
    json_.Key("listeners").BeginArray();
    engine.ForEachListener([&](const tcp::ListenerInfo& listener) {
      if (++total > query_.limit) return;
      json_.BeginObject();
      json_.Field("local", listener.local.ToAddress(listener.port).ToString());
      json_.Field("backlog", listener.backlog);
      json_.Field("waiting", listener.waiting);
      json_.Field("half_open", listener.half_open);
      json_.EndObject();
    });
    json_.EndArray();
    json_.Field("listeners_total", total);
  }

  const size_t worker_;
  Loop& loop_;
  tcp::TcpTransport& tcp_;
  const Query query_;
  const std::weak_ptr<Answers> answers_;
  const std::shared_ptr<std::atomic<size_t>> looks_;
  JsonWriter json_{JsonWriter::Layout::kLine};
  tcp::Engine::Scan scan_;
  size_t matching_ = 0;
  std::vector<std::string> connections_;
};

std::string DescribeSilent(size_t worker) {
  return absl::StrCat("{\"worker\":", worker, ",\"error\":\"did not answer within ",
                      kAnswerNs / kNsPerMs, " ms\"}");
}

}  // namespace

TcpPages::TcpPages(std::vector<Loop*> loops, tcp::TcpTransport* tcp)
    : loops_(std::move(loops)), tcp_(tcp), looks_(std::make_shared<std::atomic<size_t>>(0)) {}

HttpResponse TcpPages::Show(const HttpRequest& request) {
  if (tcp_ == nullptr) {
    return Refuse(404,
                  "this host has no TCP of its own: its configuration has no netstack section, and "
                  "ss(8) shows the kernel's");
  }
  const absl::StatusOr<Query> query = ReadQuery(request);
  if (!query.ok()) return Refuse(400, query.status().message());
  if (*looks_ >= kLooksMax * loops_.size()) {
    return Refuse(503, "too many others wait for the workers; try again in a moment");
  }
  auto answers = std::make_shared<Answers>();
  answers->texts.resize(loops_.size());
  for (size_t i = 0; i < loops_.size(); ++i) {
    std::make_shared<Look>(i, *loops_[i], *tcp_, *query, answers, looks_)->Continue();
  }
  const int64_t deadline_ns = MonotonicClock().NowNs() + kAnswerNs;
  return {.later = [answers = std::move(answers), deadline_ns]() -> std::optional<HttpResponse> {
    const bool late = MonotonicClock().NowNs() >= deadline_ns;
    const std::lock_guard<std::mutex> lock(answers->mutex);
    std::vector<std::string> texts;
    for (size_t i = 0; i < answers->texts.size(); ++i) {
      if (!answers->texts[i] && !late) return std::nullopt;
      texts.push_back(answers->texts[i].value_or(DescribeSilent(i)));
    }
    return HttpResponse{.content_type = "application/json",
                        .body = absl::StrCat("[\n", absl::StrJoin(texts, ",\n"), "\n]\n")};
  }};
}

}  // namespace weft
