// SPDX-License-Identifier: Apache-2.0
//
// The server's end of a bulk transfer; examples/perf/bulk.h has what is said.
#ifndef WEFT_EXAMPLES_PERF_BULK_SERVER_H_
#define WEFT_EXAMPLES_PERF_BULK_SERVER_H_

#include <array>
#include <optional>

#include "weft/examples/perf/bulk.h"

namespace weft::perf {

// A client that is silent, or takes nothing, for ten to twenty seconds is reset.
class BulkServer final : public tcp::ConnectionHandler {
 public:
  BulkServer(Loop& loop, BulkCounters& counters)
      : loop_(loop),
        counters_(counters),
        watchdog_(&BulkServer::OnWatchdog, this),
        end_(&BulkServer::OnEnd, this) {}

  void OnConnected(tcp::Connection& connection) override;
  void OnData(tcp::Connection& connection) override;
  void OnWritable(tcp::Connection& connection) override;
  void OnRemoteClose(tcp::Connection& connection) override;

 private:
  static void OnWatchdog(void* self, int64_t now_ns);
  static void OnEnd(void* self, int64_t now_ns);
  // False until it is complete.
  bool TakeHeader(tcp::Connection& connection);
  // Says how many bytes were received, as far as there is room, and then closes.
  void SendCount(tcp::Connection& connection);
  uint64_t progress() const;

  Loop& loop_;
  BulkCounters& counters_;
  tcp::Connection* connection_ = nullptr;
  std::array<uint8_t, BulkHeader::kBytes> header_;
  size_t header_bytes_ = 0;
  std::optional<BulkSender> sender_;  // one of the two, from the header on
  std::optional<BulkReceiver> receiver_;
  size_t count_sent_ = 0;
  uint64_t progress_ = 0;  // when the watchdog last looked
  Timer watchdog_;
  Timer end_;  // of sending
};

}  // namespace weft::perf

#endif  // WEFT_EXAMPLES_PERF_BULK_SERVER_H_
