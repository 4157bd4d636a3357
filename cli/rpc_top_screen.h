// SPDX-License-Identifier: Apache-2.0
//
// The terminal of `weft rpc top`: what it shows of a TopView, and the keys.
#ifndef WEFT_CLI_RPC_TOP_SCREEN_H_
#define WEFT_CLI_RPC_TOP_SCREEN_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "weft/cli/rpc_top_view.h"

namespace weft::cli {

// One of a process. The terminal is as before when it is destroyed.
class TopScreen {
 public:
  // FailedPrecondition if standard input or output is no terminal, or none that curses knows.
  static absl::StatusOr<std::unique_ptr<TopScreen>> Open();
  ~TopScreen();
  TopScreen(const TopScreen&) = delete;
  TopScreen& operator=(const TopScreen&) = delete;

  // `trouble` is shown where it cannot be overlooked, unless it is empty.
  void Draw(const TopView& view, const std::string& trouble);

  // Takes the keys that have been pressed. False when one of them asks for the end.
  bool TakeKeys(TopView& view);

  // After SIGWINCH: the terminal has another size now.
  void Resize();

  bool paused() const { return paused_; }

 private:
  explicit TopScreen(void* terminal) : terminal_(terminal) {}

  void DrawLine(int row, const std::string& line, unsigned attributes);
  // By so many lines, which may be negative.
  void Scroll(int lines);

  void* const terminal_;  // curses' SCREEN
  bool paused_ = false;
  size_t scrolled_ = 0;  // lines of the body above the screen
  size_t body_ = 0;      // lines of the body when it was last drawn
};

}  // namespace weft::cli

#endif  // WEFT_CLI_RPC_TOP_SCREEN_H_
