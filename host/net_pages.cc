// SPDX-License-Identifier: Apache-2.0
#include "weft/host/net_pages.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "weft/core/clock.h"
#include "weft/core/json_writer.h"

namespace weft {
namespace {

constexpr int64_t kNsPerMs = 1'000'000;
constexpr int64_t kAnswerNs = 500 * kNsPerMs;  // how long the worker is waited for beyond
constexpr int64_t kPingNsMax = 4'000 * kNsPerMs;

HttpResponse Refuse(int status, absl::string_view why) {
  return {.status = status, .body = absl::StrCat(why, "\n")};
}

HttpResponse NoStack() {
  return Refuse(404,
                "this host has no network stack of its own: its configuration has no netstack "
                "section");
}

HttpResponse Json(std::string text) {
  return {.content_type = "application/json", .body = std::move(text)};
}

void DescribeStack(const netstack::Stack* stack, JsonWriter& json) {
  if (stack != nullptr) {
    stack->Describe(json);
  } else {
    json.Field("error", "has no port open, and so no network stack");
  }
}

absl::StatusOr<Pinger::Request> ReadPing(const HttpRequest& request) {
  const auto address = request.query.find("address");
  if (address == request.query.end()) {
    return absl::InvalidArgumentError("give the query an address: /net/ping?address=10.0.0.1");
  }
  const auto to = netstack::IpAddress::Parse(address->second);
  if (!to.ok()) return to.status();
  int64_t count = 1;
  int64_t interval_ms = 200;
  int64_t size = 56;
  absl::Status status = GetNumber(request, "count", 1, 100, &count);
  status.Update(GetNumber(request, "interval_ms", 10, 1000, &interval_ms));
  status.Update(GetNumber(request, "size", 0, 65507, &size));
  if (!status.ok()) return status;
  const Pinger::Request ping = {.to = *to,
                                .count = static_cast<int>(count),
                                .interval_ns = interval_ms * kNsPerMs,
                                .bytes = static_cast<size_t>(size)};
  if ((count - 1) * ping.interval_ns + ping.timeout_ns > kPingNsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat(count, " requests every ", interval_ms, " ms take too long; at most ",
                     (kPingNsMax - ping.timeout_ns) / kNsPerMs, " ms from the first to the last"));
  }
  return ping;
}

std::string DescribeEchoes(const netstack::IpAddress& to, const std::vector<Pinger::Echo>& echoes) {
  JsonWriter json;
  json.BeginObject();
  json.Field("address", to.ToString());
  json.Field("requests", echoes.size());
  size_t replies = 0;
  for (const Pinger::Echo& echo : echoes) replies += echo.rtt_ns >= 0 ? 1 : 0;
  json.Field("replies", replies);
  json.Key("echoes").BeginArray();
  for (const Pinger::Echo& echo : echoes) {
    json.BeginObject();
    if (echo.rtt_ns >= 0) {
      json.Field("from", echo.from.ToString());
      json.Field("bytes", echo.bytes);
      json.Field("ttl", static_cast<int>(echo.ttl));
      json.Field("rtt_us", static_cast<double>(echo.rtt_ns) / 1e3);
    } else {
      json.Field("error", echo.error != 0 ? std::strerror(echo.error) : "no reply");
    }
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
  return json.text() + "\n";
}

// What a ping on its worker's thread leaves for the thread of the HTTP server.
struct PingResult {
  std::mutex mutex;
  std::optional<absl::StatusOr<std::vector<Pinger::Echo>>> echoes;
};

HttpResponse Render(const netstack::IpAddress& to,
                    const absl::StatusOr<std::vector<Pinger::Echo>>& echoes) {
  if (echoes.ok()) return Json(DescribeEchoes(to, *echoes));
  return Refuse(absl::IsInvalidArgument(echoes.status()) ? 400 : 503, echoes.status().message());
}

}  // namespace

NetPages::NetPages(std::vector<Loop*> loops, netstack::NetstackTransport* netstack)
    : loops_(std::move(loops)),
      netstack_(netstack),
      stacks_(loops_, [netstack](size_t, size_t, JsonWriter& json) {
        DescribeStack(netstack->StackOfThisThread().get(), json);
      }) {
  if (netstack_ != nullptr) pinger_ = std::make_unique<Pinger>(*loops_[0], *netstack_);
}

NetPages::~NetPages() = default;

HttpResponse NetPages::Show(const HttpRequest& request) {
  return netstack_ == nullptr ? NoStack() : stacks_.Show(request);
}

HttpResponse NetPages::Ping(const HttpRequest& request) {
  if (netstack_ == nullptr) return NoStack();
  const absl::StatusOr<Pinger::Request> ping = ReadPing(request);
  if (!ping.ok()) return Refuse(400, ping.status().message());
  if (ping_waits_.exchange(true)) {
    return Refuse(503, "another ping waits for worker 0; try again in a moment");
  }
  const auto result = std::make_shared<PingResult>();
  loops_[0]->Post([this, ping = *ping, result] {
    ping_waits_ = false;
    pinger_->Start(ping, [result](absl::StatusOr<std::vector<Pinger::Echo>> echoes) {
      const std::lock_guard<std::mutex> lock(result->mutex);
      result->echoes = std::move(echoes);
    });
  });
  const int64_t deadline_ns = MonotonicClock().NowNs() + kPingNsMax + kAnswerNs;
  return {.later = [result, to = ping->to, deadline_ns]() -> std::optional<HttpResponse> {
    const std::lock_guard<std::mutex> lock(result->mutex);
    if (result->echoes.has_value()) return Render(to, *result->echoes);
    if (MonotonicClock().NowNs() < deadline_ns) return std::nullopt;
    return Refuse(503, "worker 0 did not answer");
  }};
}

}  // namespace weft
