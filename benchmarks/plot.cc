// SPDX-License-Identifier: Apache-2.0
#include "weft/benchmarks/plot.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "weft/core/unique_fd.h"

namespace weft::benchmarks {
namespace {

// A text of gnuplot, in which nothing is special.
std::string Quoted(const std::string& text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "''"}, {"\n", " "}}), "'");
}

// Told apart with any sight, on paper, and on white (M. Okabe, K. Ito: Color Universal Design).
constexpr const char* kColors[] = {"#d55e00", "#0072b2", "#009e73", "#cc79a7",
                                   "#e69f00", "#56b4e9", "#000000"};
constexpr int kFilledPoints[] = {7, 5, 9, 11, 13};  // of gnuplot: circle, square, ...

// Marks of a logarithmic axis, 1, 2 and 5 in each decade, and the range between the outermost ones
// that `series` need.
std::string LogarithmicAxis(const std::vector<PlotSeries>& series) {
  double low = HUGE_VAL;
  double high = 0;
  for (const PlotSeries& one : series) {
    for (const auto& [x, y] : one.points) {
      if (!(y > 0) || !std::isfinite(y)) continue;
      low = std::min(low, y);
      high = std::max(high, y);
    }
  }
  std::string script = "set logscale y\n";
  if (high == 0) return script;
  double bottom = 0;
  std::string marks;
  for (double decade = std::pow(10, std::floor(std::log10(low)) - 1);; decade *= 10) {
    for (const double step : {1, 2, 5}) {
      const double mark = step * decade;
      if (mark <= low) {
        bottom = mark;
        marks.clear();
      }
      absl::StrAppend(&marks, marks.empty() ? "" : ", ", mark);
      if (mark <= bottom || mark < high) continue;
      absl::StrAppend(&script, "set yrange [", bottom, ":", mark, "]\nset ytics (", marks, ")\n");
      return script;
    }
  }
}

bool WriteAll(int fd, absl::string_view text) {
  while (!text.empty()) {
    const ssize_t n = send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    text.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

}  // namespace

std::string PlotScript(const std::string& path, const PlotLabels& labels,
                       const std::vector<PlotSeries>& series) {
  std::string script =
      absl::StrCat("set terminal ", absl::EndsWith(path, ".png") ? "pngcairo" : "svg",
                   " noenhanced size 900,600 background rgb '#ffffff'\n", "set output ",
                   Quoted(path), "\nset title ", Quoted(labels.title), "\nset xlabel ",
                   Quoted(labels.x), "\nset ylabel ", Quoted(labels.y),
                   "\nset key left top Left reverse samplen 2\n"
                   "set border 3\nset tics nomirror\nset grid linetype 1 linecolor rgb '#dddddd'\n"
                   "set autoscale xfix\nset offsets graph 0.02, graph 0.02, 0, 0\n",
                   labels.logarithmic_y ? LogarithmicAxis(series) : "");
  for (size_t i = 0; i < series.size(); ++i) {
    absl::StrAppend(&script, "$data", i, " << EOD\n");
    for (const auto& [x, y] : series[i].points) absl::StrAppend(&script, x, " ", y, "\n");
    absl::StrAppend(&script, "EOD\n");
  }
  for (size_t i = 0; i < series.size(); ++i) {
    absl::StrAppend(&script, i == 0 ? "plot " : ", ", "$data", i,
                    " using 1:2 with linespoints title ", Quoted(series[i].name),
                    " linewidth 2 linecolor rgb '", kColors[i % std::size(kColors)], "' pointtype ",
                    kFilledPoints[i % std::size(kFilledPoints)]);
  }
  return absl::StrCat(script, "\n");
}

absl::Status CheckPlotPath(const std::string& path) {
  if (absl::EndsWith(path, ".svg") || absl::EndsWith(path, ".png")) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path, ": a plot is a .svg or .png file"));
}

absl::Status DrawPlot(const std::string& path, const PlotLabels& labels,
                      const std::vector<PlotSeries>& series) {
  if (absl::Status status = CheckPlotPath(path); !status.ok()) return status;
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return absl::ErrnoToStatus(errno, "socketpair");
  }
  UniqueFd script(ends[0]);
  UniqueFd input(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input.get(), STDIN_FILENO);
  char program[] = "gnuplot";
  char* arguments[] = {program, nullptr};
  pid_t pid = 0;
  const int error = posix_spawnp(&pid, program, &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error == ENOENT) {
    return absl::UnimplementedError(
        "gnuplot is not installed (tools/setup --dev installs gnuplot-nox)");
  }
  if (error != 0) return absl::ErrnoToStatus(error, "gnuplot cannot be started");
  input.Reset();
  const bool written = WriteAll(script.get(), PlotScript(path, labels, series));
  script.Reset();
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (written && WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("gnuplot could not draw ", path));
}

}  // namespace weft::benchmarks
