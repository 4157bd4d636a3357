// SPDX-License-Identifier: Apache-2.0
//
// The requests of a call: a text of the command line, or what standard input has, which a thread of
// its own waits for while the loop goes on.
#ifndef WEFT_CLI_JSON_LINES_H_
#define WEFT_CLI_JSON_LINES_H_

#include <cstddef>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "weft/core/loop.h"
#include "weft/core/task.h"
#include "weft/core/thread_pool.h"
#include "weft/core/unique_fd.h"

namespace weft::cli {

class JsonLines {
 public:
  // The longest line, and the longest text, from standard input.
  static constexpr size_t kBytesMax = 64 << 20;

  // "-": standard input.
  explicit JsonLines(std::string text);
  // A read that waits for standard input ends.
  ~JsonLines();

  // All that is left. InvalidArgument for too much.
  Task<absl::StatusOr<std::string>> All(Loop& loop);
  // The next line that is not blank; none after the last. InvalidArgument for one too long.
  Task<absl::StatusOr<std::optional<std::string>>> Next(Loop& loop);

 private:
  // On the thread.
  absl::StatusOr<std::string> ReadAll();
  absl::StatusOr<std::optional<std::string>> ReadLine();
  // Adds to `text_`. False at the end, or when it is time to stop.
  bool ReadMore();

  const bool standard_input_;
  std::string text_;  // that has not been given out
  bool ended_;        // there is no more behind it
  UniqueFd stop_;     // an eventfd
  ThreadPool pool_;   // last: its thread uses the others
};

}  // namespace weft::cli

#endif  // WEFT_CLI_JSON_LINES_H_
