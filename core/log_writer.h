// SPDX-License-Identifier: Apache-2.0
//
// The queue of the log and the thread that empties it. Not for users, who have log.h.
#ifndef WEFT_CORE_LOG_WRITER_H_
#define WEFT_CORE_LOG_WRITER_H_

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>

#include "absl/time/time.h"
#include "weft/core/line_file.h"
#include "weft/core/log.h"
#include "weft/core/log_line.h"
#include "weft/core/mpsc_ring.h"

namespace weft::internal {

// One a process, which never ends. Its thread begins with the first line, sleeps while there are
// none, and pauses after each write, so that lines that come together are written together.
class LogWriter {
 public:
  static LogWriter& Get();

  // Any thread.
  void Push(LogLevel level, absl::string_view message, std::initializer_list<LogField> fields);
  // Waits until what was pushed before is written, or that time has passed.
  void Flush(absl::Duration timeout);
  // Lines that are pushed from now on have `format` and go to `file`.
  void Configure(LogFormat format, LineFile file);

  uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  LogWriter() = default;

  void StartOnce();
  [[noreturn]] void Run();
  // Writes what is there. False if there was nothing.
  bool WriteAll();
  bool Write(const std::string& text, uint64_t lines);
  // Tells, in the log, how many lines it lacks, if it does.
  void AppendDropped(uint64_t lines, std::string* text);
  void Sleep();
  void Wake();

  MpscRing<LogLine, kLogQueueLines> lines_;
  std::atomic<LogFormat> format_{LogFormat::kText};
  std::atomic<uint64_t> dropped_{0};
  std::atomic<uint64_t> written_{0};  // lines that were taken from the queue and are done with
  std::atomic<bool> pushed_{false};   // since the thread last looked
  std::atomic<bool> asleep_{false};   // or about to be
  std::atomic<bool> hurry_{false};    // somebody waits in Flush()
  std::once_flag started_;
  std::mutex file_mutex_;
  LineFile file_;            // guarded by file_mutex_
  uint64_t told_ = 0;        // of dropped_, the thread's
  bool failing_ = false;     // the thread's: the last Write() failed
  bool complained_ = false;  // that file_ cannot be written
};

}  // namespace weft::internal

#endif  // WEFT_CORE_LOG_WRITER_H_
