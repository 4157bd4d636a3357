// SPDX-License-Identifier: Apache-2.0
//
// The two ends of a stream of bulk data, in processes of their own (tcp_bulk_workload.h).

#ifndef WEFT_BENCHMARKS_TCP_BULK_ENDS_H_
#define WEFT_BENCHMARKS_TCP_BULK_ENDS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "weft/benchmarks/peer_process.h"
#include "weft/config/config.h"
#include "weft/core/clock.h"

namespace weft::benchmarks {

inline constexpr uint16_t kBulkPort = 5201;
inline constexpr size_t kBulkPieceBytes = 128 << 10;  // of a call, as iperf3's

// What an end costs: processor time for each byte, without the first fifth of the time.
class BulkMeter {
 public:
  explicit BulkMeter(int64_t duration_ns) : duration_ns_(duration_ns) {}

  // To be called often, with what has gone through since the last time; the first bytes start the
  // clock. True once, at the end.
  bool Add(size_t bytes);

  double cpu_ns_per_byte() const { return cpu_ns_per_byte_; }

 private:
  int64_t duration_ns_;
  int64_t begin_ns_ = 0;
  int64_t end_ns_ = 0;
  bool warm_ = false;
  uint64_t bytes_ = 0;
  int64_t cpu_ns_ = 0;  // when it was warm
  double cpu_ns_per_byte_ = 0;
};

// The receiver listens and reports 0 when it does; both report their cost at the end, and a sender
// goes on until it is killed.
struct BulkEnd {
  bool sends;
  std::string own_ip;
  std::string peer_ip;
  int64_t duration_ns;
};
absl::Status RunKernelEnd(Peer& peer, const BulkEnd& end);
// `ready`: called before the transport is opened, as it may wait for the other end.
absl::Status RunWeftEnd(Peer& peer, const BulkEnd& end, const config::Transport& transport,
                        bool copy, bool report_before_open);

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_TCP_BULK_ENDS_H_
