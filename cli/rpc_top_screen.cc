// SPDX-License-Identifier: Apache-2.0
#include "weft/cli/rpc_top_screen.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "weft/cli/table.h"

// Last: it has macros with common names.
#define NCURSES_NOMACROS
#include <curses.h>

namespace weft::cli {
namespace {

constexpr int kHeadLines = 3;
constexpr int kFootLines = 1;

// What there is to scroll: two tables with a line between.
struct Body {
  std::vector<std::string> lines;
  std::vector<size_t> heads;  // the lines that name columns
};

Body BodyOf(const TopView& view, size_t width) {
  Body body;
  for (const auto& table : {view.Methods(width), view.Sessions(width)}) {
    if (table.empty()) continue;
    if (!body.lines.empty()) body.lines.emplace_back();
    body.heads.push_back(body.lines.size());
    body.lines.insert(body.lines.end(), table.begin(), table.end());
  }
  return body;
}

int BodyRows() { return std::max(0, LINES - kHeadLines - kFootLines); }

}  // namespace

absl::StatusOr<std::unique_ptr<TopScreen>> TopScreen::Open() {
  if (isatty(STDIN_FILENO) == 0 || isatty(STDOUT_FILENO) == 0) {
    return absl::FailedPreconditionError("needs a terminal; --once prints without one");
  }
  SCREEN* const terminal = newterm(nullptr, stdout, stdin);
  if (terminal == nullptr) {
    const char* const name = std::getenv("TERM");
    return absl::FailedPreconditionError(absl::StrCat("cannot use a terminal of type '",
                                                      name == nullptr ? "" : name,
                                                      "' (TERM); --once prints without one"));
  }
  std::unique_ptr<TopScreen> screen(new TopScreen(terminal));
  set_term(terminal);
  cbreak();
  noecho();
  curs_set(0);
  keypad(stdscr, TRUE);
  nodelay(stdscr, TRUE);
  set_escdelay(25);
  return screen;
}

TopScreen::~TopScreen() {
  endwin();
  delscreen(static_cast<SCREEN*>(terminal_));
}

void TopScreen::Resize() {
  winsize size = {};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0) return;
  resizeterm(size.ws_row, size.ws_col);
}

void TopScreen::DrawLine(int row, const std::string& line, unsigned attributes) {
  if (row >= LINES) return;
  std::string cut = line.substr(0, static_cast<size_t>(COLS));
  if (attributes == A_REVERSE) cut.resize(static_cast<size_t>(COLS), ' ');
  attrset(static_cast<int>(attributes));
  // The last column too: curses does not write beyond, and says an error that means nothing here.
  mvaddnstr(row, 0, cut.c_str(), COLS);
  attrset(A_NORMAL);
}

void TopScreen::Draw(const TopView& view, const std::string& trouble) {
  erase();
  DrawLine(0, view.Program(), A_BOLD);
  DrawLine(1, view.Totals(), A_NORMAL);
  if (!trouble.empty()) DrawLine(2, trouble, A_REVERSE);

  const Body body = BodyOf(view, static_cast<size_t>(COLS));
  body_ = body.lines.size();
  Scroll(0);
  for (size_t i = scrolled_; i < body.lines.size(); ++i) {
    const size_t row = i - scrolled_;
    if (row >= static_cast<size_t>(BodyRows())) break;
    const bool head = std::count(body.heads.begin(), body.heads.end(), i) > 0;
    DrawLine(kHeadLines + static_cast<int>(row), body.lines[i], head ? A_BOLD : A_NORMAL);
  }
  if (body.lines.empty()) DrawLine(kHeadLines, "no methods and no sessions", A_NORMAL);
  DrawLine(LINES - 1,
           absl::StrCat("q quit  s sort (", NameOf(view.order()), ")  p ",
                        paused_ ? "go on (paused)" : "pause", "  arrows scroll"),
           A_REVERSE);
  refresh();
}

void TopScreen::Scroll(int lines) {
  const auto most = static_cast<int>(body_) - BodyRows();
  const int to = static_cast<int>(scrolled_) + lines;
  scrolled_ = static_cast<size_t>(std::clamp(to, 0, std::max(0, most)));
}

bool TopScreen::TakeKeys(TopView& view) {
  for (int key = getch(); key != ERR; key = getch()) {
    switch (key) {
      case 'q':
      case 'Q':
        return false;
      case 's':
        view.SetOrder(NextOf(view.order()));
        break;
      case 'p':
      case ' ':
        paused_ = !paused_;
        break;
      case KEY_UP:
        Scroll(-1);
        break;
      case KEY_DOWN:
        Scroll(1);
        break;
      case KEY_PPAGE:
        Scroll(-BodyRows());
        break;
      case KEY_NPAGE:
        Scroll(BodyRows());
        break;
      case KEY_HOME:
        Scroll(-static_cast<int>(body_));
        break;
      case KEY_END:
        Scroll(static_cast<int>(body_));
        break;
      default:
        break;
    }
  }
  return true;
}

}  // namespace weft::cli
