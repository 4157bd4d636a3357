// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/trace/span_writer.h"

#include <unistd.h>

#include <chrono>
#include <utility>

#include "weft/core/clock.h"
#include "weft/core/cpu.h"
#include "weft/core/log.h"
#include "weft/core/unix_time.h"

namespace weft::rpc {
namespace {

constexpr std::chrono::milliseconds kPause(20);
constexpr size_t kSpansOfLine = 256;

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "";
}

// What the real clock's times lack to count from 1970.
int64_t UnixOffsetNs() { return UnixNs() - RealClock().NowNs(); }

}  // namespace

absl::StatusOr<std::shared_ptr<SpanWriter>> SpanWriter::Start(const Options& options) {
  absl::StatusOr<LineFile> file = LineFile::Open(options.file);
  if (!file.ok()) return file.status();
  return std::shared_ptr<SpanWriter>(new SpanWriter(options, *std::move(file)));
}

SpanWriter::SpanWriter(const Options& options, LineFile file)
    : options_(options),
      resource_{options.service_name, HostName(), getpid()},
      file_(std::move(file)),
      json_(JsonWriter::Layout::kLine),
      thread_([this] { Run(); }) {}

SpanWriter::~SpanWriter() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ending_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

std::shared_ptr<SpanQueue> SpanWriter::AddQueue() {
  auto queue = std::make_shared<SpanQueue>(options_.queue_spans);
  const std::lock_guard<std::mutex> lock(mutex_);
  queues_.push_back(queue);
  return queue;
}

void SpanWriter::Flush() {
  std::unique_lock<std::mutex> lock(mutex_);
  const uint64_t mine = ++flushes_wanted_;
  wake_.notify_all();
  wake_.wait(lock, [this, mine] { return flushes_done_ >= mine; });
}

void SpanWriter::Run() {
  RunInBackground("weft-trace");
  bool ending = false;
  while (!ending) {
    uint64_t flushes = 0;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait_for(lock, kPause, [this] { return ending_ || flushes_wanted_ > flushes_done_; });
      ending = ending_;
      flushes = flushes_wanted_;
    }
    WriteAll();
    const std::lock_guard<std::mutex> lock(mutex_);
    flushes_done_ = flushes;
    wake_.notify_all();
  }
}

void SpanWriter::WriteAll() {
  std::vector<std::shared_ptr<SpanQueue>> queues;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    queues = queues_;
  }
  for (const auto& queue : queues) {
    const bool closed = queue->closed.load(std::memory_order_acquire);
    // No more than was there at first: one queue's producer must not keep the others waiting.
    for (size_t left = options_.queue_spans; left > 0; left -= std::min(left, kSpansOfLine)) {
      batch_.resize(std::min(left, kSpansOfLine));
      batch_.resize(queue->ring.consumer().Pop(absl::MakeSpan(batch_)));
      if (batch_.empty()) break;
      Write(batch_);
    }
    if (!closed) continue;
    const std::lock_guard<std::mutex> lock(mutex_);
    std::erase(queues_, queue);
  }
}

void SpanWriter::Write(const std::vector<Span>& spans) {
  json_.Clear();
  WriteOtlp(resource_, spans, options_.virtual_time ? 0 : UnixOffsetNs(), json_);
  if (file_.Write(json_.text() + "\n")) {
    complained_ = false;
    return;
  }
  lost_.Add(spans.size());
  if (std::exchange(complained_, true)) return;
  WEFT_LOG(kWarning, "spans are lost", {"reason", file_.reason().message()});
}

}  // namespace weft::rpc
