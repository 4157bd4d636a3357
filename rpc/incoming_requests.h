// SPDX-License-Identifier: Apache-2.0
//
// Requests that have arrived in part, of all clients of a server: found by (client, request id),
// bounded in number, in number a client and in buffers, and given up when they stop making
// progress.
#ifndef WEFT_RPC_INCOMING_REQUESTS_H_
#define WEFT_RPC_INCOMING_REQUESTS_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "weft/rpc/reassembly.h"
#include "weft/rpc/wire.h"
#include "weft/transports/port.h"

namespace weft::rpc {

struct IncomingLimits {
  size_t packets_max;   // of a request
  size_t requests_max;  // of all clients
  size_t requests_per_peer_max;
  size_t buffers_max;  // held by all requests together
};

// When all requests or all buffers are in use, the request that has made no progress for the
// longest time gives way: an honest sender's makes progress all the time, a half-open one's never.
class IncomingRequests {
 public:
  using Result = Reassembly::Result;

  // Told of each request that had begun and is given up.
  using GivenUp = absl::AnyInvocable<void(const Peer& client, uint16_t request_id)>;

  IncomingRequests(const IncomingLimits& limits, GivenUp given_up)
      : limits_(limits), given_up_(std::move(given_up)) {}

  enum class BeginResult {
    kBegun,
    kAgain,    // is known already: the first packet came once more; nothing changes
    kTooMany,  // the client has as many as it may
    kTooLong,  // it alone is more than buffers_max
  };
  // `header` is that of a first packet and more than one in all, no more than packets_max.
  BeginResult Begin(const Peer& client, const Header& header, Buffer payload, int64_t now_ns);

  // Adds a later packet. False if there is no such request; else `result` says what became of the
  // packet. If it completes the request, `message` has it, `first` its first header, and it is
  // forgotten here.
  bool Add(const Peer& client, const Header& header, Buffer payload, int64_t now_ns, Result* result,
           Header* first, BufferChain* message);

  // Gives up those whose last progress was before `time_ns`; returns how many.
  size_t Expire(int64_t time_ns);
  // Gives up all of a client that has gone.
  void Forget(const Peer& client);

  // When the stalest request last made progress. There must be one.
  int64_t oldest_progress_ns() const { return by_progress_.front().progress_ns; }
  size_t size() const { return by_key_.size(); }
  uint64_t evicted() const { return evicted_; }

 private:
  struct Key {
    Peer client;
    uint16_t request_id;
    friend bool operator==(const Key&, const Key&) = default;
    template <typename H>
    friend H AbslHashValue(H h, const Key& key) {
      return H::combine(std::move(h), key.client, key.request_id);
    }
  };
  struct Request {
    explicit Request(size_t packets_max) : packets(packets_max) {}
    Key key;
    Header first;
    Reassembly packets;
    int64_t progress_ns = 0;
  };
  using Requests = std::list<Request>;

  void Erase(Requests::iterator request);
  void GiveUp(Requests::iterator request);
  void Evict();

  const IncomingLimits limits_;
  GivenUp given_up_;
  Requests by_progress_;  // stalest first
  Requests unused_;       // kept for their memory
  absl::flat_hash_map<Key, Requests::iterator> by_key_;
  absl::flat_hash_map<Peer, size_t> per_peer_;
  size_t buffers_ = 0;
  uint64_t evicted_ = 0;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_INCOMING_REQUESTS_H_
