// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/load_generator.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "weft/rpc/payload.h"

namespace weft::rpc {
namespace {

// When the client had no room for a request, or no server, the time until the next attempt.
constexpr int64_t kRetryNs = 10'000;
constexpr int64_t kUnavailableNs = 1'000'000;

std::vector<uint8_t> Pattern(size_t size) {
  std::vector<uint8_t> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(i);
  return bytes;
}

}  // namespace

LoadGenerator::LoadGenerator(Client& client, const Peer& server, const LoadOptions& options)
    : client_(client),
      address_(client.port().AddressOf(server)),
      server_(server),
      options_(options),
      request_(Pattern(options.request_bytes)),
      sessions_(options.sessions),
      prng_(options.poisson_seed) {}

LoadGenerator::LoadGenerator(Balancer& balancer, const LoadOptions& options)
    : client_(balancer.client()),
      balancer_(&balancer),
      address_(absl::UnavailableError("picked for each request")),
      server_(),
      options_(options),
      request_(Pattern(options.request_bytes)),
      prng_(options.poisson_seed) {}

void LoadGenerator::Start(absl::AnyInvocable<void()> on_done) {
  on_done_ = std::move(on_done);
  stats_.begin_ns = stats_.end_ns = client_.loop().clock().NowNs();
  // From the loop, so that `on_done` never runs inside of Start().
  client_.loop().timers().Schedule(timer_, stats_.begin_ns);
}

void LoadGenerator::Stop() {
  stopped_ = true;
  client_.loop().timers().Schedule(timer_, client_.loop().clock().NowNs());
}

int64_t LoadGenerator::DueNs() const {
  if (options_.poisson_seed != 0) return stats_.begin_ns + static_cast<int64_t>(random_due_ns_);
  return stats_.begin_ns +
         static_cast<int64_t>(static_cast<double>(stats_.sent) * 1e9 / options_.rate_per_s);
}

void LoadGenerator::CountSent() {
  ++stats_.sent;
  if (options_.poisson_seed == 0 || options_.rate_per_s <= 0) return;
  // Of a Poisson process, intervals are exponentially distributed.
  random_due_ns_ -= std::log1p(-prng_.Unit()) * 1e9 / options_.rate_per_s;
}

void LoadGenerator::OnTimer(void* self, int64_t) {
  auto& load = *static_cast<LoadGenerator*>(self);
  if (load.server_lost_) load.FindServer();
  load.Pump(load.client_.loop().clock().NowNs(), /*held_back=*/false);
  load.EndIfDone();
}

void LoadGenerator::Pump(int64_t now_ns, bool held_back) {
  while (may_send() && outstanding_ < options_.outstanding_max && !server_lost_) {
    int64_t start_ns = now_ns;
    if (options_.rate_per_s > 0) {
      const int64_t due_ns = DueNs();
      if (due_ns > now_ns) {
        client_.loop().timers().Schedule(timer_, due_ns);
        return;
      }
      // A timer that fires late is this side's fault, and not to be seen in the latency.
      if (held_back) start_ns = due_ns;
    }
    if (!SendOne(start_ns)) return;
  }
}

absl::StatusOr<CallId> LoadGenerator::Call(int64_t start_ns) {
  const auto on_end = [this, start_ns](absl::StatusOr<BufferChain> reply) {
    OnEnd(start_ns, std::move(reply));
  };
  if (balancer_ != nullptr) {
    return balancer_->Call(Payload::External(request_), on_end);
  }
  const auto call = [&](const Target& target) {
    return client_.Call(target, Payload::External(request_), on_end);
  };
  if (sessions_.empty()) return call(server_);
  SessionId& session = sessions_[stats_.sent % sessions_.size()];
  absl::StatusOr<CallId> begun = absl::NotFoundError("not opened yet");
  if (session) begun = call(session);
  if (!absl::IsNotFound(begun.status())) return begun;
  const absl::StatusOr<SessionId> opened = client_.Connect(server_);
  if (!opened.ok()) return opened.status();
  session = *opened;
  return call(session);
}

bool LoadGenerator::SendOne(int64_t start_ns) {
  const absl::StatusOr<CallId> begun = Call(start_ns);
  if (begun.ok()) {
    CountSent();
    ++outstanding_;
    return true;
  }
  const int64_t now_ns = client_.loop().clock().NowNs();
  if (absl::IsResourceExhausted(begun.status())) {
    client_.loop().timers().Schedule(timer_, now_ns + kRetryNs);
  } else if (absl::IsUnavailable(begun.status())) {
    CountSent();
    stats_.end_ns = now_ns;
    CountError(begun.status());
  } else {  // Such a request will never be accepted.
    CountError(begun.status());
    Stop();
  }
  return false;
}

void LoadGenerator::OnEnd(int64_t start_ns, absl::StatusOr<BufferChain> reply) {
  const int64_t now_ns = client_.loop().clock().NowNs();
  stats_.end_ns = now_ns;
  const bool held_back = outstanding_ == options_.outstanding_max;
  --outstanding_;
  if (reply.ok()) [[likely]] {
    ++stats_.replies;
    latency_.Record(now_ns - start_ns);
    if (!IsEcho(*reply)) ++stats_.different;
  } else {
    CountError(reply.status());
  }
  // Release the reply's buffers before the next request wants some.
  reply = BufferChain();
  Pump(now_ns, held_back);
  EndIfDone();
}

void LoadGenerator::CountError(const absl::Status& error) {
  if (first_error_.ok()) first_error_ = error;
  switch (error.code()) {
    case absl::StatusCode::kDeadlineExceeded:
      ++stats_.timeouts;
      break;
    case absl::StatusCode::kResourceExhausted:
      ++stats_.refused;
      break;
    default:
      ++stats_.failed;
  }
  if (stats_.replies == 0 && stats_.unanswered() == options_.give_up_after) return Stop();
  // A balancer has others.
  if (balancer_ != nullptr && !balancer_->set().available().empty()) return;
  if (absl::IsUnavailable(error) || absl::IsDeadlineExceeded(error)) {
    server_lost_ = true;
    client_.loop().timers().Schedule(
        timer_, client_.loop().clock().NowNs() + (absl::IsUnavailable(error) ? kUnavailableNs : 0));
  }
}

// Over some transports, a server that has come back is another peer.
void LoadGenerator::FindServer() {
  server_lost_ = false;
  if (!address_.ok()) return;
  const absl::StatusOr<Peer> found = client_.Resolve(*address_);
  if (!found.ok() || *found == server_) return;
  server_ = *found;
  for (SessionId& session : sessions_) {
    if (session) client_.Disconnect(std::exchange(session, {}));
  }
}

bool LoadGenerator::IsEcho(const BufferChain& reply) const {
  if (reply.size() != request_.size()) return false;
  const uint8_t* expected = request_.data();
  for (absl::Span<const uint8_t> piece : reply) {
    if (!piece.empty() && std::memcmp(piece.data(), expected, piece.size()) != 0) return false;
    expected += piece.size();
  }
  return true;
}

void LoadGenerator::EndIfDone() {
  if (done_ || may_send() || outstanding_ > 0) return;
  done_ = true;
  client_.loop().timers().Cancel(timer_);
  if (on_done_) on_done_();
}

}  // namespace weft::rpc
