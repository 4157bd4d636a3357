// SPDX-License-Identifier: Apache-2.0
//
// Both ends of an echo, for tests: over a StreamPort, and over sockets of the kernel's.
#ifndef WEFT_TCP_ECHO_PEERS_H_
#define WEFT_TCP_ECHO_PEERS_H_

#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/prng.h"
#include "weft/core/unique_fd.h"
#include "weft/transports/stream_port.h"
#include "weft/transports/transport.h"

namespace weft::tcp {

constexpr auto kPatience = std::chrono::seconds(60);

inline std::string RandomText(size_t bytes, uint64_t seed) {
  Prng prng(seed);
  std::string text(bytes, '\0');
  for (char& c : text) c = static_cast<char>(prng.Next());
  return text;
}

// Polls a port, or sleeps as a loop would until there is something, but not for long.
inline size_t PollOrSleep(StreamPort& port, absl::Span<StreamEvent> events) {
  const size_t n = port.Poll(events);
  if (n > 0 || !port.Arm()) return n;
  pollfd event = {port.wait_fd(), POLLIN, 0};
  ::poll(&event, 1, 10);
  port.Disarm();
  return 0;
}

// Echoes what comes on the streams that a port accepts, and closes them when their peers do.
class Echo {
 public:
  explicit Echo(StreamPort* port) : port_(port) {}

  void Handle(const StreamEvent& event) {
    switch (event.kind) {
      case StreamEvent::Kind::kAccepted:
        ++accepted_;
        break;
      case StreamEvent::Kind::kRemoteClosed:
        ended_[event.stream.value] = true;
        break;
      case StreamEvent::Kind::kClosed:
        ended_.erase(event.stream.value);
        last_error_ = event.error;
        ++closed_;
        return;
      default:
        break;
    }
    Pump(event.stream);
  }
  int accepted() const { return accepted_; }
  int closed() const { return closed_; }
  int last_error() const { return last_error_; }

 private:
  void Pump(StreamId stream) {
    for (;;) {
      const absl::Span<const uint8_t> in = port_->ReadView(stream);
      if (in.empty()) break;
      const absl::Span<uint8_t> out = port_->Reserve(stream, in.size());
      if (out.empty()) return;  // kWritable goes on
      std::memcpy(out.data(), in.data(), out.size());
      port_->Commit(stream, out.size());
      port_->Consume(stream, out.size());
    }
    if (ended_.contains(stream.value)) port_->Close(stream);
  }

  StreamPort* const port_;
  std::map<uint64_t, bool> ended_;
  std::atomic<int> accepted_{0};
  std::atomic<int> closed_{0};
  std::atomic<int> last_error_{0};
};

// An echo server of weft's with a thread of its own.
class EchoThread {
 public:
  EchoThread(Transport* transport, const PortOptions& options, const Address& address)
      : thread_([this, transport, options, address] { Run(transport, options, address); }) {
    while (state_.load() == 0) std::this_thread::yield();
  }
  ~EchoThread() { Stop(); }
  void Stop() {
    stop_.store(true);
    if (thread_.joinable()) thread_.join();
  }

  uint16_t port() const { return address_.port(); }
  int accepted() const { return accepted_.load(); }
  int closed() const { return closed_.load(); }
  int last_error() const { return last_error_.load(); }

 private:
  void Run(Transport* transport, const PortOptions& options, const Address& address) {
    auto port = transport->OpenStreamPort(options);
    EXPECT_TRUE(port.ok()) << port.status();
    const auto bound = port.ok() ? (*port)->Listen(address, 64) : port.status();
    EXPECT_TRUE(bound.ok()) << bound.status();
    if (bound.ok()) address_ = *bound;
    state_.store(1);
    if (!bound.ok()) return;
    Echo echo(port->get());
    StreamEvent events[32];
    while (!stop_.load()) {
      const size_t n = PollOrSleep(**port, absl::MakeSpan(events));
      for (size_t i = 0; i < n; ++i) echo.Handle(events[i]);
      accepted_.store(echo.accepted());
      closed_.store(echo.closed());
      last_error_.store(echo.last_error());
    }
  }

  std::atomic<int> state_{0};
  std::atomic<bool> stop_{false};
  std::atomic<int> accepted_{0};
  std::atomic<int> closed_{0};
  std::atomic<int> last_error_{0};
  Address address_;
  std::thread thread_;
};

// The kernel's side of an exchange: sends `text`, then the end, and reads until the other's.
class KernelExchange {
 public:
  KernelExchange(UniqueFd fd, std::string text) : fd_(std::move(fd)), text_(std::move(text)) {}

  // Does what can be done now. True: it is over.
  bool Step() {
    while (sent_ < text_.size()) {
      const ssize_t n = send(fd_.get(), text_.data() + sent_, text_.size() - sent_, MSG_NOSIGNAL);
      if (n < 0) {
        if (errno != EAGAIN && errno != ENOTCONN) return Fail("send");
        break;
      }
      sent_ += static_cast<size_t>(n);
      if (sent_ == text_.size()) shutdown(fd_.get(), SHUT_WR);
    }
    char bytes[65536];
    for (;;) {
      const ssize_t n = recv(fd_.get(), bytes, sizeof(bytes), 0);
      if (n == 0) return true;
      if (n < 0) return errno == EAGAIN || errno == ENOTCONN ? false : Fail("recv");
      got_.append(bytes, static_cast<size_t>(n));
    }
  }
  const std::string& got() const { return got_; }
  const std::string& error() const { return error_; }

 private:
  bool Fail(const char* what) {
    error_ = absl::StrCat(what, ": ", std::strerror(errno));
    return true;
  }

  const UniqueFd fd_;
  const std::string text_;
  size_t sent_ = 0;
  std::string got_;
  std::string error_;
};

// An echo server of the kernel's sockets.
class KernelEcho {
 public:
  explicit KernelEcho(UniqueFd listener) : listener_(std::move(listener)) {}

  void Step() {
    const int fd = accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) peers_.push_back({UniqueFd(fd), {}, false});
    for (Peer& peer : peers_) {
      if (!peer.fd) continue;
      char bytes[65536];
      const ssize_t n =
          peer.waiting.size() > 1 << 20 ? -1 : recv(peer.fd.get(), bytes, sizeof(bytes), 0);
      if (n > 0) peer.waiting.append(bytes, static_cast<size_t>(n));
      if (n == 0) peer.ended = true;
      const ssize_t sent =
          send(peer.fd.get(), peer.waiting.data(), peer.waiting.size(), MSG_NOSIGNAL);
      if (sent > 0) peer.waiting.erase(0, static_cast<size_t>(sent));
      if (peer.ended && peer.waiting.empty()) peer.fd.Reset();
    }
  }

 private:
  struct Peer {
    UniqueFd fd;
    std::string waiting;
    bool ended = false;
  };
  const UniqueFd listener_;
  std::vector<Peer> peers_;
};

// Weft's side of an exchange: as KernelExchange.
class WeftExchange {
 public:
  WeftExchange(StreamPort* port, StreamId stream, std::string text)
      : port_(port), stream_(stream), text_(std::move(text)) {}

  StreamId stream() const { return stream_; }
  void Handle(const StreamEvent& event) {
    if (event.kind == StreamEvent::Kind::kConnected) open_ = true;
    if (event.kind == StreamEvent::Kind::kClosed) {
      closed_ = true;
      error_ = event.error;
    }
    for (auto in = port_->ReadView(stream_); !in.empty(); in = port_->ReadView(stream_)) {
      got_.append(reinterpret_cast<const char*>(in.data()), in.size());
      port_->Consume(stream_, in.size());
    }
    if (open_ && sent_ < text_.size()) {
      sent_ += port_->Send(stream_, text_.size() - sent_, [this](absl::Span<uint8_t> room) {
        std::memcpy(room.data(), text_.data() + written_, room.size());
        written_ += room.size();
        return room.size();
      });
      if (sent_ == text_.size()) port_->CloseWrite(stream_);
    }
    if (event.kind == StreamEvent::Kind::kRemoteClosed) port_->Close(stream_);
  }
  bool closed() const { return closed_; }
  int error() const { return error_; }
  const std::string& got() const { return got_; }

 private:
  StreamPort* const port_;
  const StreamId stream_;
  const std::string text_;
  size_t sent_ = 0;
  size_t written_ = 0;
  bool open_ = false;
  bool closed_ = false;
  int error_ = 0;
  std::string got_;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_ECHO_PEERS_H_
