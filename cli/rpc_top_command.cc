// SPDX-License-Identifier: Apache-2.0
//
// weft rpc top: what a running program's RPC does now, refreshed again and again.

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "weft/cli/command.h"
#include "weft/cli/endpoint.h"
#include "weft/cli/flags.h"
#include "weft/cli/rpc_top_sample.h"
#include "weft/cli/rpc_top_screen.h"
#include "weft/cli/rpc_top_view.h"
#include "weft/core/unique_fd.h"

namespace weft::cli {
namespace {

constexpr uint64_t kSessionsMax = 100;  // of each server and client
constexpr absl::Duration kIntervalMin = absl::Milliseconds(100);
constexpr size_t kOnceWidth = 1000;  // nothing needs to be cut in a file

// Asks the program at even intervals, on a thread of its own: a program that hangs must not hold up
// the keys.
class Sampler {
 public:
  Sampler(const std::string& address, absl::Duration interval)
      : address_(address), interval_(interval), ready_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    thread_ = std::thread(&Sampler::Run, this);
  }
  ~Sampler() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ended_ = true;
    }
    end_.notify_all();
    thread_.join();
  }

  // Readable when Take() has something.
  int fd() const { return ready_.get(); }

  std::optional<absl::StatusOr<TopSample>> Take() {
    eventfd_t count = 0;
    (void)eventfd_read(ready_.get(), &count);
    const std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(newest_, std::nullopt);
  }

 private:
  void Run() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!ended_) {
      lock.unlock();
      absl::StatusOr<TopSample> sample = FetchTopSample(address_, kSessionsMax);
      lock.lock();
      newest_ = std::move(sample);
      eventfd_write(ready_.get(), 1);
      end_.wait_for(lock, absl::ToChronoNanoseconds(interval_), [this] { return ended_; });
    }
  }

  const std::string address_;
  const absl::Duration interval_;
  const UniqueFd ready_;
  std::mutex mutex_;
  // Guarded by mutex_.
  std::optional<absl::StatusOr<TopSample>> newest_;
  bool ended_ = false;
  std::condition_variable end_;
  std::thread thread_;  // last: it uses the others
};

// Signals that end the command or change the terminal's size, as something to read: no handler runs
// between two calls of curses, which could not bear it. Made before any thread.
UniqueFd CatchSignals() {
  sigset_t caught;
  sigemptyset(&caught);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH}) sigaddset(&caught, signal);
  pthread_sigmask(SIG_BLOCK, &caught, nullptr);
  return UniqueFd(signalfd(-1, &caught, SFD_CLOEXEC | SFD_NONBLOCK));
}

// False when a signal has asked for the end.
bool TakeSignals(int fd, TopScreen& screen) {
  signalfd_siginfo signal;
  while (read(fd, &signal, sizeof(signal)) == sizeof(signal)) {
    if (signal.ssi_signo != SIGWINCH) return false;
    screen.Resize();
  }
  return true;
}

std::string TimeOfDay() { return absl::FormatTime("%H:%M:%S", absl::Now(), absl::LocalTimeZone()); }

void Watch(TopScreen& screen, Sampler& sampler, int signals, TopView view) {
  std::string trouble = view.Trouble();
  std::string heard = TimeOfDay();
  while (true) {
    screen.Draw(view, trouble);
    pollfd polled[] = {{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0},
                       {.fd = signals, .events = POLLIN, .revents = 0},
                       {.fd = sampler.fd(), .events = POLLIN, .revents = 0}};
    if (poll(polled, std::size(polled), -1) < 0 && errno != EINTR) return;
    if ((polled[0].revents & (POLLHUP | POLLERR)) != 0) return;  // the terminal is gone
    if (!TakeSignals(signals, screen) || !screen.TakeKeys(view)) return;
    std::optional<absl::StatusOr<TopSample>> sample = sampler.Take();
    if (!sample.has_value() || screen.paused()) continue;
    if (sample->ok()) {
      view.Add(**std::move(sample));
      trouble = view.Trouble();
      heard = TimeOfDay();
    } else {
      trouble = absl::StrCat("gone, last heard at ", heard, ": ", sample->status().message());
    }
  }
}

int Print(const TopView& view) {
  std::printf("%s\n%s\n", view.Program().c_str(), view.Totals().c_str());
  for (const auto& table : {view.Methods(kOnceWidth), view.Sessions(kOnceWidth)}) {
    if (!table.empty()) std::printf("\n");
    for (const std::string& line : table) std::printf("%s\n", line.c_str());
  }
  return view.Trouble().empty() ? kExitOk : kExitFailed;
}

}  // namespace

int RpcTop(Arguments arguments) {
  std::string address;
  bool once = false;
  absl::Duration interval = absl::Seconds(1);
  Flags flags(
      "rpc top",
      "Shows what the RPC of a running program does: its methods with rates and latencies,\n"
      "its sessions. Keys: q quits, s sorts by something else, p pauses, arrows scroll.\n"
      "Latencies are of the last 10 seconds; in brackets, of all calls since start.");
  flags.Argument("HOST:PORT", "metrics.listen of the host; a bare port is one of 127.0.0.1",
                 &address);
  flags.Bool("once", "print rates of one interval as plain text, and end", &once);
  flags.Duration("interval", "between two looks, from 100ms on (1s)", &interval);
  if (std::optional<int> status = flags.Parse(arguments)) return *status;
  if (interval < kIntervalMin) {
    return flags.UsageError(absl::StrCat("--interval: ", absl::FormatDuration(interval),
                                         " is less than ", absl::FormatDuration(kIntervalMin)));
  }
  const auto fail = [&flags](const absl::Status& status) {
    flags.Complain(status.message());
    return ExitStatus(status);
  };

  TopView view;
  for (int i = 0; i < (once ? 2 : 1); ++i) {
    if (i > 0) absl::SleepFor(interval);
    absl::StatusOr<TopSample> sample = FetchTopSample(address, kSessionsMax);
    if (!sample.ok()) return fail(sample.status());
    view.Add(*std::move(sample));
  }
  if (once) {
    if (!view.Trouble().empty()) flags.Complain(view.Trouble());
    return Print(view);
  }

  const UniqueFd signals = CatchSignals();
  auto screen = TopScreen::Open();
  if (!screen.ok()) {
    flags.Complain(screen.status().message());
    return kExitUsage;
  }
  Sampler sampler(address, interval);
  Watch(**screen, sampler, signals.get(), std::move(view));
  screen->reset();  // before the wait for an answer that may be under way
  return kExitOk;
}

}  // namespace weft::cli
