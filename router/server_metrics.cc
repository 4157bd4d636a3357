// SPDX-License-Identifier: Apache-2.0
#include "weft/router/server_metrics.h"

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

namespace weft::router {
namespace {

void Append(const Member& member, const r2p2::ServerSet& servers, const MetricGroup::Labels& labels,
            std::vector<MetricSample>* samples) {
  MetricGroup::Labels own = labels;
  own.emplace_back("server", member.server.address.ToString());
  const auto add = [&](const char* name, const char* help, MetricType type, auto value) {
    samples->push_back({{name, help, own}, type, static_cast<double>(value)});
  };
  add("weft_router_server_forwarded_total", "Requests that went to the server.",
      MetricType::kCounter, member.forwarded);
  add("weft_router_server_feedbacks_total", "Requests that the server has said to be done.",
      MetricType::kCounter, member.feedbacks);
  add("weft_router_server_outstanding", "Requests that are at the server.", MetricType::kGauge,
      servers.outstanding(member.index));
  add("weft_router_server_up", "Whether the server gets requests.", MetricType::kGauge,
      member.state == Member::State::kUp ? 1 : 0);
}

}  // namespace

MetricSampler ServerSampler(const Router& router, MetricGroup::Labels labels) {
  return [&router, labels = std::move(labels)](size_t limit, std::vector<MetricSample>* samples) {
    std::vector<const Member*> members;
    router.ForEachMember([&](const Member& member) { members.push_back(&member); });
    const auto busier = [](const Member* a, const Member* b) {
      return a->forwarded > b->forwarded;
    };
    const size_t shown = std::min(limit, members.size());
    std::partial_sort(members.begin(), members.begin() + static_cast<ptrdiff_t>(shown),
                      members.end(), busier);
    for (size_t i = 0; i < shown; ++i) {
      Append(*members[i], router.dispatcher().servers(), labels, samples);
    }
  };
}

}  // namespace weft::router
