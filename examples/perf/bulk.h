// SPDX-License-Identifier: Apache-2.0
//
// Bulk transfer over one connection, for examples/iperf.cc: what both ends say to each other, and
// the bytes that they send.
//
// The client begins with a header of 16 bytes, numbers big-endian:
//
//    0  "WEFTPERF"
//    8  direction: 0 up, from client to server; 1 down
//    9  1: whoever receives checks every byte
//   10  0, 0
//   12  how long to send, in milliseconds (down)
//
// Then the sender sends, and closes its direction at the end. Up, the server answers that in 8
// bytes with the number of those that it has received, or, if it checks them, of those in front of
// the first that is wrong, and closes too.
#ifndef WEFT_EXAMPLES_PERF_BULK_H_
#define WEFT_EXAMPLES_PERF_BULK_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "weft/core/loop.h"
#include "weft/core/metrics.h"
#include "weft/core/timer_wheel.h"
#include "weft/tcp/connections.h"

namespace weft::perf {

struct BulkHeader {
  static constexpr size_t kBytes = 16;
  static constexpr uint32_t kDurationMsMax = 3'600'000;

  bool down = false;
  bool verify = false;
  uint32_t duration_ms = 0;

  std::array<uint8_t, kBytes> Encode() const;
  // False for what no client of this server sends.
  bool Decode(absl::Span<const uint8_t> bytes);
};

// The bytes of a stream: what comes at each offset. Offsets that are 251 apart have the same, so
// that no loss, repetition or exchange of segments goes unseen.
void FillPattern(uint64_t offset, absl::Span<uint8_t> room);
bool IsPattern(uint64_t offset, absl::Span<const uint8_t> bytes);

// Counted by one worker, and added up by another.
struct BulkCounters {
  Counter sent;
  Counter received;
};

// Sends as much as there is room for, until it is stopped.
class BulkSender {
 public:
  explicit BulkSender(BulkCounters& counters) : counters_(counters) {}
  void Send(tcp::Connection& connection);
  void Stop() { stopped_ = true; }
  uint64_t bytes() const { return bytes_; }

 private:
  BulkCounters& counters_;
  uint64_t bytes_ = 0;
  bool stopped_ = false;
};

// Takes what there is.
class BulkReceiver {
 public:
  BulkReceiver(BulkCounters& counters, bool verify) : counters_(counters), verify_(verify) {}
  void Receive(tcp::Connection& connection);
  uint64_t bytes() const { return bytes_; }
  // Those in front of the first piece that was wrong, if they are checked.
  uint64_t good_bytes() const { return good_bytes_; }

 private:
  BulkCounters& counters_;
  const bool verify_;
  uint64_t bytes_ = 0;
  uint64_t good_bytes_ = 0;
};

}  // namespace weft::perf

#endif  // WEFT_EXAMPLES_PERF_BULK_H_
