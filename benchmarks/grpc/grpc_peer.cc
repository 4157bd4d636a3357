// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/grpc/grpc_peer.h"

#include <unistd.h>

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "weft/benchmarks/grpc/roles.h"

namespace weft::benchmarks::grpc_peer {
namespace {

constexpr PeerRole kRoles[] = {{"grpc-server", &Serve}, {"grpc-client", &Ask}};

// Of what was tried on machines near and far, idle and busy, those that did not always lose.
struct Candidate {
  Figure figure;
  const char* server;
  const char* client;
  bool often = false;  // the best
};
constexpr Candidate kCandidates[] = {
    {Figure::kLatency, "sync", "sync", true},
    {Figure::kLatency, "callback", "sync", true},
    {Figure::kLatency, "queue", "sync"},
    {Figure::kLatency, "queue", "queue"},
    {Figure::kSpinningLatency, "spinning", "spinning", true},
    {Figure::kThroughput, "callback", "callback", true},
    {Figure::kThroughput, "sync", "callback"},
    {Figure::kThroughput, "callback", "queue", true},
    {Figure::kThroughput, "queue", "queue"},
    {Figure::kBandwidth, "callback", "queue", true},
    {Figure::kBandwidth, "queue", "queue"},
    {Figure::kBandwidth, "spinning", "queue", true},
    {Figure::kBandwidth, "queue", "spinning"},
    {Figure::kBandwidth, "callback", "callback"},
    {Figure::kStreaming, "callback", "callback", true},
    {Figure::kStreaming, "sync", "callback", true},
    {Figure::kStreaming, "sync", "queue"},
    {Figure::kStreaming, "callback", "sync"},
};

bool IsLatency(Figure figure) {
  return figure == Figure::kLatency || figure == Figure::kSpinningLatency;
}

}  // namespace

std::string Variant::Name() const {
  return absl::StrCat(server, " server, ", client, " client, ",
                      unix_socket ? "Unix socket" : "TCP");
}

std::vector<Variant> Candidates(Figure figure, bool quick) {
  std::vector<Variant> variants;
  for (const Candidate& candidate : kCandidates) {
    if (candidate.figure != figure || (quick && !candidate.often)) continue;
    variants.push_back({candidate.server, candidate.client, /*unix_socket=*/true});
    if (!quick) variants.push_back({candidate.server, candidate.client, /*unix_socket=*/false});
  }
  return variants;
}

absl::StatusOr<double> Measure(Figure figure, const Variant& variant, const Options& options) {
  if (absl::Status available = Available(); !available.ok()) return available;
  const std::string listen = variant.unix_socket
                                 ? absl::StrCat("unix-abstract:weft-benchmark-grpc-", getpid())
                                 : "127.0.0.1:0";
  const absl::Duration lifetime = options.duration + 3 * kStartTimeout;
  auto server = PeerProcess::Start({.role = "grpc-server",
                                    .core = options.server_core,
                                    .arguments = {variant.server, listen, options.certificates},
                                    .lifetime = lifetime});
  if (!server.ok()) return server.status();
  const absl::StatusOr<double> port = (*server)->AwaitReport(kStartTimeout);
  if (!port.ok()) return port;
  const std::string address =
      variant.unix_socket ? listen : absl::StrCat("127.0.0.1:", static_cast<int>(*port));
  auto client =
      PeerProcess::Start({.role = "grpc-client",
                          .core = options.client_core,
                          .arguments = {variant.client, address, options.certificates,
                                        absl::StrCat(static_cast<int>(figure)),
                                        absl::StrCat(absl::ToInt64Nanoseconds(options.duration))},
                          .lifetime = lifetime});
  if (!client.ok()) return client.status();
  return (*client)->AwaitReport(options.duration + kStartTimeout);
}

absl::StatusOr<Contest::Winner> Contest::HoldHeat(Figure figure) const {
  Options options = options_;
  options.duration = heat_;
  std::optional<Variant> best;
  double best_value = 0;
  std::string heat;
  absl::Status failure = absl::NotFoundError("no candidates");
  for (const Variant& variant : Candidates(figure, quick_)) {
    const absl::StatusOr<double> value = grpc_peer::Measure(figure, variant, options);
    if (!value.ok()) {
      failure = value.status();
      if (absl::IsUnimplemented(failure)) return failure;
      absl::StrAppend(&heat, variant.Name(), ": ", failure.message(), "\n");
      continue;  // One way less that comes into question.
    }
    absl::StrAppend(&heat, variant.Name(), ": ", *value, "\n");
    const bool better = IsLatency(figure) ? *value < best_value : *value > best_value;
    if (best.has_value() && !better) continue;
    best = variant;
    best_value = *value;
  }
  if (!best.has_value()) return failure;
  return Winner{*best, std::move(heat)};
}

absl::StatusOr<double> Contest::Measure(Figure figure) {
  if (!winners_.contains(figure)) {
    absl::StatusOr<Winner> winner = HoldHeat(figure);
    if (!winner.ok()) return winner.status();
    winners_.emplace(figure, *std::move(winner));
  }
  return grpc_peer::Measure(figure, winners_.at(figure).variant, options_);
}

std::string Contest::Heat(Figure figure) const {
  const auto found = winners_.find(figure);
  return found == winners_.end() ? "" : found->second.heat;
}

absl::Span<const PeerRole> Roles() { return kRoles; }

}  // namespace weft::benchmarks::grpc_peer
