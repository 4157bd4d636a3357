// SPDX-License-Identifier: Apache-2.0
#include "weft/core/log_writer.h"

#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/core/clock.h"
#include "weft/core/cpu.h"
#include "weft/core/unix_time.h"

namespace weft::internal {
namespace {

constexpr std::chrono::milliseconds kPause(20);
constexpr size_t kWriteBytes = 64 << 10;
constexpr absl::Duration kExitTime = absl::Seconds(1);

int64_t ThisThread() {
  static thread_local const int64_t id = gettid();
  return id;
}

}  // namespace

LogWriter& LogWriter::Get() {
  // Never destroyed: others may log while the process ends.
  static LogWriter* const writer = new LogWriter;
  return *writer;
}

void LogWriter::StartOnce() {
  std::call_once(started_, [this] {
    std::thread([this] { Run(); }).detach();
    std::atexit([] { LogWriter::Get().Flush(kExitTime); });
  });
}

void LogWriter::Push(LogLevel level, absl::string_view message,
                     std::initializer_list<LogField> fields) {
  StartOnce();
  const bool taken = lines_.TryPush([&](LogLine& line) {
    line.unix_ns = UnixNs();
    line.level = level;
    FormatLogLine(format_.load(std::memory_order_relaxed), message, fields, ThisThread(), &line);
  });
  if (!taken) dropped_.fetch_add(1, std::memory_order_relaxed);
  // As Mailbox: say that there is work, then look whether the thread sleeps; it does the reverse.
  pushed_.store(true, std::memory_order_seq_cst);
  if (asleep_.load(std::memory_order_seq_cst)) [[unlikely]]
    Wake();
}

void LogWriter::Wake() {
  asleep_.store(false, std::memory_order_seq_cst);
  asleep_.notify_one();
}

void LogWriter::Sleep() {
  asleep_.store(true, std::memory_order_seq_cst);
  if (pushed_.load(std::memory_order_seq_cst)) {
    asleep_.store(false, std::memory_order_relaxed);
  } else {
    asleep_.wait(true, std::memory_order_seq_cst);
  }
}

void LogWriter::Run() {
  RunInBackground("weft-log");
  while (true) {
    pushed_.store(false, std::memory_order_seq_cst);
    if (!WriteAll()) {
      Sleep();
    } else if (!hurry_.load(std::memory_order_relaxed)) {
      std::this_thread::sleep_for(kPause);
    }
  }
}

bool LogWriter::WriteAll() {
  std::string text;
  uint64_t lines = 0;
  bool any = false;
  const auto write = [&] {
    if (text.empty()) return;
    failing_ = !Write(text, lines);
    text.clear();
    lines = 0;
    any = true;
  };
  while (const LogLine* line = lines_.Front()) {
    AppendLogLine(*line, &text);
    lines_.PopFront();
    ++lines;
    if (text.size() >= kWriteBytes) write();
  }
  // Where nothing can be written, with the next lines: by itself it would be tried for ever.
  const uint64_t dropped = this->dropped();
  if (!failing_ || !text.empty()) AppendDropped(dropped - told_, &text);
  write();
  if (!failing_) told_ = dropped;
  return any;
}

bool LogWriter::Write(const std::string& text, uint64_t lines) {
  bool written = false;
  {
    const std::lock_guard<std::mutex> lock(file_mutex_);
    written = file_.Write(text);
    if (!written) {
      dropped_.fetch_add(lines, std::memory_order_relaxed);
      if (!std::exchange(complained_, true) && !file_.path().empty()) {
        (void)LineFile().Write(absl::StrCat("weft: the log: ", file_.reason().message(), "\n"));
      }
    } else {
      complained_ = false;
    }
  }
  written_.fetch_add(lines, std::memory_order_release);
  return written;
}

void LogWriter::AppendDropped(uint64_t lines, std::string* text) {
  if (lines == 0) return;
  LogLine line;
  line.unix_ns = UnixNs();
  line.level = LogLevel::kWarning;
  FormatLogLine(format_.load(std::memory_order_relaxed), "lines of the log were dropped",
                {{"lines", lines}}, ThisThread(), &line);
  AppendLogLine(line, text);
}

void LogWriter::Flush(absl::Duration timeout) {
  const uint64_t until = lines_.pushed();
  const int64_t deadline_ns = MonotonicClock().NowNs() + absl::ToInt64Nanoseconds(timeout);
  hurry_.store(true, std::memory_order_relaxed);
  while (written_.load(std::memory_order_acquire) < until &&
         MonotonicClock().NowNs() < deadline_ns) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  hurry_.store(false, std::memory_order_relaxed);
}

void LogWriter::Configure(LogFormat format, LineFile file) {
  Flush(kExitTime);
  const std::lock_guard<std::mutex> lock(file_mutex_);
  format_.store(format, std::memory_order_relaxed);
  file_ = std::move(file);
  complained_ = false;
}

}  // namespace weft::internal
