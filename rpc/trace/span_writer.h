// SPDX-License-Identifier: Apache-2.0
//
// The thread that writes the spans of a process to a file, and the queues that bring it them.
//
//   auto writer = rpc::SpanWriter::Start({.file = "/var/log/kv/spans.jsonl"});
//   if (!writer.ok()) return writer.status();
//   rpc::Tracer tracer(*writer, loop.clock(), {.sample_ratio = 0.01});   // one a worker
//
// weft::Host does this where the configuration has a section `tracing`. The file gets one JSON
// object a line (otlp_json.h), each with the spans of some ten milliseconds.
#ifndef WEFT_RPC_TRACE_SPAN_WRITER_H_
#define WEFT_RPC_TRACE_SPAN_WRITER_H_

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "weft/core/json_writer.h"
#include "weft/core/line_file.h"
#include "weft/core/metrics.h"
#include "weft/core/spsc_ring.h"
#include "weft/rpc/trace/otlp_json.h"
#include "weft/rpc/trace/span.h"

namespace weft::rpc {

// Spans of one thread on their way to the writer's. Not for users.
struct SpanQueue {
  explicit SpanQueue(size_t spans) : ring(spans) {}

  SpscRing<Span> ring;
  Counter queued;
  Counter dropped;  // the ring was full
  // Set when nothing comes any more.
  std::atomic<bool> closed{false};
};

class SpanWriter {
 public:
  struct Options {
    // Lines are added to it; one that was moved away is begun anew within a second. Empty or "-":
    // standard error.
    std::string file = {};
    std::string service_name = "weft";
    // Spans of one thread that may wait, a power of two; what comes beyond that is dropped.
    size_t queue_spans = 4096;
    // The spans' times are not of the real clock's line, and are written as they are.
    bool virtual_time = false;
  };

  // Errors: of opening the file.
  static absl::StatusOr<std::shared_ptr<SpanWriter>> Start(const Options& options);
  // Writes what was queued.
  ~SpanWriter();
  SpanWriter(const SpanWriter&) = delete;
  SpanWriter& operator=(const SpanWriter&) = delete;

  // For one producer, which sets `closed` at its end. Any thread.
  std::shared_ptr<SpanQueue> AddQueue();

  // Waits until what this thread has queued is written, or lost for want of room in the file.
  void Flush();

  // Spans that were taken from the queues and could not be written.
  uint64_t lost() const { return lost_.value(); }

 private:
  SpanWriter(const Options& options, LineFile file);

  void Run();
  // Writes what is in the queues, and lets go of those that are closed and empty.
  void WriteAll();
  void Write(const std::vector<Span>& spans);

  const Options options_;
  const TraceResource resource_;
  LineFile file_;            // the thread's
  JsonWriter json_;          // the thread's
  std::vector<Span> batch_;  // the thread's
  bool complained_ = false;  // the thread's: that the file cannot be written
  Counter lost_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::shared_ptr<SpanQueue>> queues_;  // guarded by mutex_
  uint64_t flushes_wanted_ = 0;                     // guarded by mutex_
  uint64_t flushes_done_ = 0;                       // guarded by mutex_
  bool ending_ = false;                             // guarded by mutex_
  std::thread thread_;                              // last: it uses the others
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_TRACE_SPAN_WRITER_H_
