// SPDX-License-Identifier: Apache-2.0
//
// The client's end of a bulk transfer; examples/perf/bulk.h has what is said.
#ifndef WEFT_EXAMPLES_PERF_BULK_CLIENT_H_
#define WEFT_EXAMPLES_PERF_BULK_CLIENT_H_

#include <array>
#include <optional>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "weft/examples/perf/bulk.h"

namespace weft::perf {

struct BulkResult {
  uint64_t sent = 0;
  uint64_t received = 0;
  // Of what it knows of its connection; 0 where the transport tells nothing.
  uint64_t retransmissions = 0;
  uint32_t rtt_us = 0;
};

class BulkClient final : public tcp::ConnectionHandler {
 public:
  // `done` is called once: with an error when the transfer failed, or what arrived is not what was
  // sent.
  using Done = absl::AnyInvocable<void(const absl::Status& status, const BulkResult& result)>;

  BulkClient(Loop& loop, BulkCounters& counters, const BulkHeader& header, Done done);

  void OnConnected(tcp::Connection& connection) override;
  void OnData(tcp::Connection& connection) override;
  void OnWritable(tcp::Connection& connection) override;
  void OnRemoteClose(tcp::Connection& connection) override;
  void OnReset(tcp::Connection& connection, int error) override;

 private:
  static void OnEnd(void* self, int64_t now_ns);
  void Finish(tcp::Connection& connection, const absl::Status& status);

  Loop& loop_;
  BulkCounters& counters_;
  const BulkHeader header_;
  size_t header_sent_ = 0;
  Done done_;
  tcp::Connection* connection_ = nullptr;
  std::optional<BulkSender> sender_;
  std::optional<BulkReceiver> receiver_;
  std::array<uint8_t, 8> count_;  // that the server has received, and found good
  size_t count_bytes_ = 0;
  BulkResult result_;
  Timer end_;  // of sending
};

}  // namespace weft::perf

#endif  // WEFT_EXAMPLES_PERF_BULK_CLIENT_H_
