// SPDX-License-Identifier: Apache-2.0
//
// Logs: what happened, for those who run a program. A line has a level, a message that is always
// the same, and fields that tell one time from another:
//
//   WEFT_LOG(kWarning, "session lost", {"peer", peer.ToString()}, {"age_ms", age_ms});
//
//   2026-11-27T03:20:00.123456Z WARNING session lost peer=10.0.0.2:7000 age_ms=5012 thread=4711
//   {"time":"2026-11-27T03:20:00.123456Z","level":"warning","message":"session lost",...}
//
// Levels: kDebug, what only those who look for a fault want to know; kInfo, what changes and how
// (the default); kWarning, what should not happen and is coped with; kError, what makes the program
// fail at something that it is for.
//
// It may be called on any thread, also on data paths: a level that is off costs a load and a
// branch, and its fields are not computed. One that is on costs some hundreds of nanoseconds; the
// thread that calls neither allocates nor waits for the disk. Lines go through a queue of
// kLogQueueLines to a thread that writes them, some 50,000 a second at most. What comes faster is
// dropped, counted, and said in the log. Not for signal handlers. What the queue holds is lost when
// the process is killed or crashes, not when it exits.
//
// A program that has a configuration gets its `log` section applied by weft::Host.
#ifndef WEFT_CORE_LOG_H_
#define WEFT_CORE_LOG_H_

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace weft {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarning, kError, kOff };
enum class LogFormat : uint8_t { kText, kJson };

// A key and a value. Keys are identifiers, unlike "time", "level", "message" and "thread". Texts
// must live until Log() returns; of long ones the first kLogValueBytes are written.
class LogField {
 public:
  enum class Kind : uint8_t { kText, kSigned, kUnsigned, kDouble, kBool };

  LogField(absl::string_view key, absl::string_view value)
      : key_(key), kind_(Kind::kText), text_(value) {}
  LogField(absl::string_view key, const char* value) : LogField(key, absl::string_view(value)) {}
  LogField(absl::string_view key, const std::string& value)
      : LogField(key, absl::string_view(value)) {}
  LogField(absl::string_view key, bool value)
      : key_(key), kind_(Kind::kBool), unsigned_(value ? 1 : 0) {}
  LogField(absl::string_view key, std::signed_integral auto value)
      : key_(key), kind_(Kind::kSigned), signed_(value) {}
  LogField(absl::string_view key, std::unsigned_integral auto value)
      : key_(key), kind_(Kind::kUnsigned), unsigned_(value) {}
  LogField(absl::string_view key, double value) : key_(key), kind_(Kind::kDouble), double_(value) {}

  absl::string_view key() const { return key_; }
  Kind kind() const { return kind_; }
  // The one that kind() says; a bool is 0 or 1 in as_unsigned().
  absl::string_view as_text() const { return text_; }
  int64_t as_signed() const { return signed_; }
  uint64_t as_unsigned() const { return unsigned_; }
  double as_double() const { return double_; }

 private:
  absl::string_view key_;
  Kind kind_;
  absl::string_view text_;
  union {
    int64_t signed_ = 0;
    uint64_t unsigned_;
    double double_;
  };
};

inline constexpr size_t kLogValueBytes = 256;  // of a text, as written
inline constexpr size_t kLogLineBytes = 1000;  // fields that do not fit are left out
inline constexpr size_t kLogQueueLines = 1024;

namespace internal {
inline constinit std::atomic<LogLevel> log_level{LogLevel::kInfo};
}  // namespace internal

// Whether lines of that level are written.
inline bool LogEnabled(LogLevel level) {
  return level >= internal::log_level.load(std::memory_order_relaxed);
}

// Writes a line, whatever the level. Use WEFT_LOG.
void Log(LogLevel level, absl::string_view message, std::initializer_list<LogField> fields);

// `level` is an enumerator of LogLevel; each argument after the message is a LogField in braces.
#define WEFT_LOG(level, message, ...)                               \
  do {                                                              \
    if (::weft::LogEnabled(::weft::LogLevel::level)) [[unlikely]] { \
      ::weft::Log(::weft::LogLevel::level, message, {__VA_ARGS__}); \
    }                                                               \
  } while (false)

struct LogOptions {
  LogLevel level = LogLevel::kInfo;  // the least that is written
  LogFormat format = LogFormat::kText;
  // Lines are added to it; one that was moved away is begun anew within a second. Empty: standard
  // error.
  std::string file = {};
};

// From now on. An error, because of which nothing changes, if the file cannot be opened. Any
// thread, not a data path: it waits for what is queued to be written, as it was to be.
absl::Status ConfigureLog(const LogOptions& options);

// Waits until what this thread has logged is written, at most that long.
void FlushLog(absl::Duration patience = absl::Seconds(1));

// Lines that were not written because they came too fast or could not be.
uint64_t LogLinesDropped();

}  // namespace weft

#endif  // WEFT_CORE_LOG_H_
