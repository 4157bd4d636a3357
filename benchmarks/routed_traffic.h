// SPDX-License-Identifier: Apache-2.0
//
// The traffic of a router, made by one thread: requests of a client, which it receives again as the
// servers, and FEEDBACK. Requests have 64 bytes and the original format.

#ifndef WEFT_BENCHMARKS_ROUTED_TRAFFIC_H_
#define WEFT_BENCHMARKS_ROUTED_TRAFFIC_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/r2p2/route_wire.h"
#include "weft/transports/address.h"

namespace weft::benchmarks {

inline constexpr size_t kTrafficBurst = 32;
inline constexpr size_t kTrafficServersMax = 2;

// Where everybody is: of the router `listen` and `control`, then the client, then the servers.
enum TrafficPlace : size_t {
  kListen,
  kControl,
  kClient,
  kFirstServer,
  kTrafficPlaces = kFirstServer + kTrafficServersMax
};
using TrafficPlaces = std::vector<Address>;

// Who sends frames has no need to ask: the client's and the servers' side of the cable.
inline constexpr char kTrafficMac[] = "02:00:00:00:00:02";

class RoutedTraffic {
 public:
  virtual ~RoutedTraffic() = default;

  // Sends requests; returns how many left.
  virtual size_t Send(size_t n) = 0;
  // What has arrived at servers. They are done with it as soon as SendFeedback() says so.
  virtual size_t Receive() = 0;
  virtual void SendFeedback() = 0;
  // Takes what else arrives: DROPs, and what neighbours ask for.
  virtual void Discard() {}
};

// Through kernel sockets on loopback, as weft's servers understand it.
absl::StatusOr<std::unique_ptr<RoutedTraffic>> OpenUdpTraffic(const TrafficPlaces& places,
                                                              size_t servers);
// Frames made by hand, through a virtual device of DPDK. Sends requests once the router has said
// where it is.
absl::StatusOr<std::unique_ptr<RoutedTraffic>> OpenFrameTraffic(const std::string& device,
                                                                const TrafficPlaces& places,
                                                                size_t servers);

// The requests that one server is done with and has not said so yet.
class TrafficFeedback {
 public:
  explicit TrafficFeedback(uint64_t incarnation) : batch_{.incarnation = incarnation} {}

  bool full() const { return batch_.count == kTrafficBurst; }
  bool empty() const { return batch_.count == 0; }
  void Add(uint64_t client_id, uint16_t request_id) {
    entries_[batch_.count++] = {r2p2::RequestKey(client_id, 0, request_id), /*service_ns=*/1000};
  }
  size_t bytes() const {
    return r2p2::kFeedbackBatchHeaderBytes + batch_.count * r2p2::kFeedbackEntryBytes;
  }
  // Writes bytes(), and begins anew.
  void Write(uint8_t* out) {
    r2p2::WriteFeedbackBatch(batch_, out);
    for (size_t i = 0; i < batch_.count; ++i) {
      r2p2::WriteFeedbackEntry(
          entries_[i], out + r2p2::kFeedbackBatchHeaderBytes + i * r2p2::kFeedbackEntryBytes);
    }
    batch_.first += std::exchange(batch_.count, 0);
  }

 private:
  static_assert(kTrafficBurst <= r2p2::kFeedbackEntriesMax);

  r2p2::FeedbackBatch batch_;
  std::array<r2p2::FeedbackEntry, kTrafficBurst> entries_;
};

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_ROUTED_TRAFFIC_H_
