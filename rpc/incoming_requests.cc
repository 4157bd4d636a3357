// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/incoming_requests.h"

#include <utility>

namespace weft::rpc {

IncomingRequests::BeginResult IncomingRequests::Begin(const Peer& client, const Header& header,
                                                      Buffer payload, int64_t now_ns) {
  const Key key{client, header.request_id};
  if (by_key_.contains(key)) return BeginResult::kAgain;
  // It could only push out all others, and never be complete.
  if (header.packet_order > limits_.buffers_max) return BeginResult::kTooLong;
  if (auto it = per_peer_.find(client);
      it != per_peer_.end() && it->second >= limits_.requests_per_peer_max) {
    return BeginResult::kTooMany;
  }
  if (by_key_.size() >= limits_.requests_max || buffers_ >= limits_.buffers_max) Evict();

  if (unused_.empty()) unused_.emplace_back(limits_.packets_max);
  const auto request = unused_.begin();
  by_progress_.splice(by_progress_.end(), unused_, request);
  request->key = key;
  request->first = header;
  request->progress_ns = now_ns;
  request->packets.Add(header, std::move(payload));
  by_key_.emplace(key, request);
  ++per_peer_[client];
  ++buffers_;
  return BeginResult::kBegun;
}

bool IncomingRequests::Add(const Peer& client, const Header& header, Buffer payload, int64_t now_ns,
                           Result* result, Header* first, BufferChain* message) {
  const auto it = by_key_.find(Key{client, header.request_id});
  if (it == by_key_.end()) return false;
  const auto request = it->second;
  *result = request->packets.Add(header, std::move(payload));
  if (*result != Result::kIncomplete && *result != Result::kComplete) return true;

  ++buffers_;
  request->progress_ns = now_ns;
  by_progress_.splice(by_progress_.end(), by_progress_, request);
  if (*result == Result::kComplete) {
    *first = request->first;
    buffers_ -= request->packets.held();
    *message = request->packets.Take();
    Erase(request);
  } else if (buffers_ > limits_.buffers_max) {
    Evict();
  }
  return true;
}

size_t IncomingRequests::Expire(int64_t time_ns) {
  size_t expired = 0;
  while (!by_progress_.empty() && oldest_progress_ns() < time_ns) {
    GiveUp(by_progress_.begin());
    ++expired;
  }
  return expired;
}

void IncomingRequests::Forget(const Peer& client) {
  if (!per_peer_.contains(client)) return;
  for (auto request = by_progress_.begin(); request != by_progress_.end();) {
    const auto next = std::next(request);
    if (request->key.client == client) GiveUp(request);
    request = next;
  }
}

void IncomingRequests::Erase(Requests::iterator request) {
  buffers_ -= request->packets.held();
  request->packets.Reset();
  by_key_.erase(request->key);
  if (auto it = per_peer_.find(request->key.client); --it->second == 0) per_peer_.erase(it);
  unused_.splice(unused_.begin(), by_progress_, request);
}

void IncomingRequests::GiveUp(Requests::iterator request) {
  const Key key = request->key;
  Erase(request);
  given_up_(key.client, key.request_id);
}

void IncomingRequests::Evict() {
  GiveUp(by_progress_.begin());
  ++evicted_;
}

}  // namespace weft::rpc
