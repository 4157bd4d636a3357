// SPDX-License-Identifier: Apache-2.0
#include "weft/core/log_line.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "weft/core/utf8.h"

namespace weft::internal {
namespace {

const char* NameOf(LogLevel level, LogFormat format) {
  const bool json = format == LogFormat::kJson;
  switch (level) {
    case LogLevel::kDebug:
      return json ? "debug" : "DEBUG";
    case LogLevel::kInfo:
      return json ? "info" : "INFO";
    case LogLevel::kWarning:
      return json ? "warning" : "WARNING";
    case LogLevel::kError:
    case LogLevel::kOff:
      break;
  }
  return json ? "error" : "ERROR";
}

// Puts a line together in memory of a fixed size. What is put after it has become full is
// forgotten, until Reset() goes back to before.
class Builder {
 public:
  Builder(LogFormat format, LogLine* line) : json_(format == LogFormat::kJson), line_(line) {}

  size_t size() const { return size_; }
  bool full() const { return full_; }
  void Reset(size_t size) {
    size_ = size;
    full_ = false;
  }
  // So many bytes at the end are kept for what comes last.
  void Reserve(size_t bytes) { limit_ = sizeof(line_->text) - bytes; }

  void Put(absl::string_view text) {
    full_ = full_ || text.size() > limit_ - size_;
    if (full_) return;
    std::memcpy(line_->text + size_, text.data(), text.size());
    size_ += text.size();
  }

  template <typename Number>
  void PutNumber(Number number) {
    char text[32];
    Put({text, static_cast<size_t>(std::to_chars(text, text + sizeof(text), number).ptr - text)});
  }

  // What a JSON string, or a quoted text, has between its quotes.
  void PutEscaped(absl::string_view text) {
    constexpr size_t kCodeBytes = 6;  // of the longest way to write a character
    const size_t end = size_ + kLogValueBytes;
    while (!text.empty() && !full_) {
      if (size_ + kCodeBytes > end) return Put("...");
      const size_t length = Utf8CharacterBytes(text);
      const char c = text[0];
      if (length == 0 || static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
        PutCode(static_cast<unsigned char>(c));
      } else if (c == '"' || c == '\\') {
        const char escaped[] = {'\\', c};
        Put({escaped, 2});
      } else {
        Put(text.substr(0, length));
      }
      text.remove_prefix(std::max<size_t>(length, 1));
    }
  }

  void PutText(absl::string_view text) {
    const bool quoted = json_ || text.empty() || !IsPlain(text);
    if (quoted) Put("\"");
    PutEscaped(text);
    if (quoted) Put("\"");
  }

  void PutField(const LogField& field) {
    Put(json_ ? ",\"" : " ");
    Put(field.key());
    Put(json_ ? "\":" : "=");
    switch (field.kind()) {
      case LogField::Kind::kText:
        return PutText(field.as_text());
      case LogField::Kind::kSigned:
        return PutNumber(field.as_signed());
      case LogField::Kind::kUnsigned:
        return PutNumber(field.as_unsigned());
      case LogField::Kind::kDouble:
        // JSON has no other numbers.
        if (json_ && !std::isfinite(field.as_double())) return Put("null");
        return PutNumber(field.as_double());
      case LogField::Kind::kBool:
        return Put(field.as_unsigned() != 0 ? "true" : "false");
    }
  }

 private:
  // Whether `text` can stand without quotes.
  static bool IsPlain(absl::string_view text) {
    for (const char c : text) {
      if (static_cast<unsigned char>(c) <= ' ' || c == '"' || c == '=' || c == 0x7f) return false;
    }
    return true;
  }

  void PutCode(unsigned char byte) {
    constexpr char kHex[] = "0123456789abcdef";
    const char code[] = {'\\', 'u', '0', '0', kHex[byte >> 4], kHex[byte & 15]};
    Put({code, sizeof(code)});
  }

  const bool json_;
  LogLine* const line_;
  size_t limit_ = sizeof(line_->text);
  size_t size_ = 0;
  bool full_ = false;
};

}  // namespace

void FormatLogLine(LogFormat format, absl::string_view message,
                   std::initializer_list<LogField> fields, int64_t thread, LogLine* line) {
  constexpr size_t kEndBytes = 64;  // of the fields that are added here
  const bool json = format == LogFormat::kJson;
  Builder builder(format, line);
  builder.Reserve(kEndBytes);
  if (json) builder.Put("\"");
  builder.PutEscaped(message);
  if (json) builder.Put("\"");
  bool truncated = false;
  for (const LogField& field : fields) {
    const size_t before = builder.size();
    builder.PutField(field);
    if (!builder.full()) continue;
    builder.Reset(before);
    truncated = true;
  }
  builder.Reserve(0);
  if (truncated) builder.PutField({"truncated", true});
  builder.PutField({"thread", thread});
  if (json) builder.Put("}");
  line->format = format;
  line->size = static_cast<uint16_t>(builder.size());
}

void AppendLogLine(const LogLine& line, std::string* out) {
  const std::string time = absl::FormatTime("%Y-%m-%d%ET%H:%M:%E6SZ",
                                            absl::FromUnixNanos(line.unix_ns), absl::UTCTimeZone());
  const absl::string_view text(line.text, line.size);
  const char* const level = NameOf(line.level, line.format);
  if (line.format == LogFormat::kJson) {
    absl::StrAppend(out, "{\"time\":\"", time, "\",\"level\":\"", level, "\",\"message\":", text,
                    "\n");
  } else {
    absl::StrAppend(out, time, " ", level, " ", text, "\n");
  }
}

}  // namespace weft::internal
