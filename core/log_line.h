// SPDX-License-Identifier: Apache-2.0
//
// What a line of the log looks like. Not for users, who have log.h.
#ifndef WEFT_CORE_LOG_LINE_H_
#define WEFT_CORE_LOG_LINE_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "absl/strings/string_view.h"
#include "weft/core/log.h"

namespace weft::internal {

// A line on its way to the thread that writes it. What is slow to write, that thread adds.
struct LogLine {
  int64_t unix_ns = 0;
  LogLevel level = LogLevel::kInfo;
  LogFormat format = LogFormat::kText;
  uint16_t size = 0;
  char text[kLogLineBytes];  // message and fields
};

// Sets format, size and text, without allocating. Control characters and what is not UTF-8 are
// escaped, so that a line is one line whatever a peer has sent. A field that does not fit is left
// out, and "truncated" said.
void FormatLogLine(LogFormat format, absl::string_view message,
                   std::initializer_list<LogField> fields, int64_t thread, LogLine* line);

// Appends all of the line, and its end.
void AppendLogLine(const LogLine& line, std::string* out);

}  // namespace weft::internal

#endif  // WEFT_CORE_LOG_LINE_H_
