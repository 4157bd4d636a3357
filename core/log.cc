// SPDX-License-Identifier: Apache-2.0
#include "weft/core/log.h"

#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "weft/core/line_file.h"
#include "weft/core/log_writer.h"

namespace weft {

void Log(LogLevel level, absl::string_view message, std::initializer_list<LogField> fields) {
  internal::LogWriter::Get().Push(level, message, fields);
}

absl::Status ConfigureLog(const LogOptions& options) {
  absl::StatusOr<LineFile> file = LineFile::Open(options.file);
  if (!file.ok()) return file.status();
  internal::LogWriter::Get().Configure(options.format, *std::move(file));
  internal::log_level.store(options.level, std::memory_order_relaxed);
  return absl::OkStatus();
}

void FlushLog(absl::Duration patience) { internal::LogWriter::Get().Flush(patience); }

uint64_t LogLinesDropped() { return internal::LogWriter::Get().dropped(); }

}  // namespace weft
