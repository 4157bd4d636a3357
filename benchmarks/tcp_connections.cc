// SPDX-License-Identifier: Apache-2.0
//
// What connections cost that rest: a server's TCP engine, in a process of its own, with a million
// of them; docs/performance.md explains the figures.
//
//   tcp_connections                        a million, half a minute, 1.2 GiB in all
//   tcp_connections --connections=20000
//
// Server and client are weft's engine each, over a socket that carries batches of segments in turn.
// Memory is all that is resident of the server's process: code, buffers, connections and the table
// that finds them. The clock is the client's, so that hours pass as nothing happens.
#include <malloc.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/types/span.h"
#include "weft/benchmarks/report.h"
#include "weft/core/buffer.h"
#include "weft/core/timer_wheel.h"
#include "weft/tcp/engine.h"

ABSL_FLAG(uint32_t, connections, 1'000'000, "how many there are at once, at most a million");
ABSL_FLAG(std::string, json, "", "also write the figures to this file");

namespace weft::benchmarks {
namespace {

using netstack::IpAddress;

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kS = 1'000'000'000;
constexpr int64_t kStartNs = 1000 * kS;
constexpr size_t kBatch = 64;  // segments in a message
constexpr size_t kUnderWay = 256;
constexpr uint32_t kConnectionsOfAnAddress = 16;
constexpr size_t kRequestBytes = 64;
constexpr double kMib = 1 << 20;

void Check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "tcp_connections: %s\n", what);
  std::_Exit(1);
}

int64_t ClockNs(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return time.tv_sec * kS + time.tv_nsec;
}

double ResidentBytes() {
  uint64_t all = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

enum class Order : uint32_t { kSegments, kReport, kStopListening, kPathMtu, kListen, kQuit };

// What goes before the segments of a message.
struct Head {
  Order order = Order::kSegments;  // to the server
  uint32_t segments = 0;
  int64_t now_ns = 0;
  bool more = false;    // from the server: it has more to say
  int64_t next_ns = 0;  // from the server: when something is due there
};

// In answer to an order.
struct Figures {
  double resident_bytes = 0;
  int64_t cpu_ns = 0;      // within the engine, since the last one
  int64_t longest_ns = 0;  // of these, the longest turn
  int64_t connections = 0;
  int64_t buffers = 0;  // that are held by connections
  uint64_t keepalives = 0;
};

struct Piece {
  IpAddress source, destination;
  uint32_t bytes = 0;
};

// One end: an engine and its half of the socket.
class Side {
 public:
  Side(int fd, const tcp::Options& options) : fd_(fd) {
    tcp::World world;
    world.timers = &wheel_;
    world.pool = &pool_;
    world.secret = static_cast<uint64_t>(fd);
    world.outbox_segments = 4096;
    auto engine = tcp::Engine::Create(options, world);
    Check(engine.ok(), "no engine");
    engine_ = *std::move(engine);
    message_.resize(kBatch * 2048);
  }

  tcp::Engine& engine() { return *engine_; }
  TimerWheel& wheel() { return wheel_; }
  BufferPool& pool() { return pool_; }

  void Send(Head head) {
    auto pending = engine_->pending();
    pending = pending.first(std::min(pending.size(), kBatch));
    head.segments = static_cast<uint32_t>(pending.size());
    size_t at = sizeof(Head);
    for (netstack::OutgoingSegment& segment : pending) {
      const Piece piece = {segment.source, segment.destination,
                           static_cast<uint32_t>(segment.buffer.size())};
      std::memcpy(&message_[at], &piece, sizeof(piece));
      std::memcpy(&message_[at + sizeof(piece)], segment.buffer.data(), piece.bytes);
      at += sizeof(piece) + piece.bytes;
      segment.buffer.Reset();
    }
    engine_->Sent(pending.size(), head.now_ns);
    head.more = !engine_->pending().empty();
    head.next_ns = wheel_.NextDeadlineNs();
    std::memcpy(message_.data(), &head, sizeof(head));
    Check(send(fd_, message_.data(), at, 0) == static_cast<ssize_t>(at), "send");
  }

  // Segments wait in burst() for Receive().
  Head Take() {
    Head head;
    const ssize_t n = recv(fd_, message_.data(), message_.size(), 0);
    Check(n >= static_cast<ssize_t>(sizeof(head)), "the other side has gone");
    std::memcpy(&head, message_.data(), sizeof(head));
    size_t at = sizeof(head);
    burst_.clear();
    for (uint32_t i = 0; i < head.segments; ++i) {
      Piece piece;
      std::memcpy(&piece, &message_[at], sizeof(piece));
      netstack::ReceivedSegment& segment = burst_.emplace_back();
      segment.buffer = pool_.Allocate();
      Check(static_cast<bool>(segment.buffer), "out of buffers");
      std::memcpy(segment.buffer.Append(piece.bytes), &message_[at + sizeof(piece)], piece.bytes);
      segment.source = piece.source;
      segment.destination = piece.destination;
      at += sizeof(piece) + piece.bytes;
    }
    return head;
  }
  absl::Span<netstack::ReceivedSegment> burst() { return absl::MakeSpan(burst_); }

 private:
  const int fd_;
  TimerWheel wheel_{kStartNs};
  BufferPool pool_{{.count = 8192}};
  std::unique_ptr<tcp::Engine> engine_;
  std::vector<char> message_;
  std::vector<netstack::ReceivedSegment> burst_;
};

const IpAddress kServerIp = IpAddress::V4(0x0a000001);
constexpr uint16_t kServerPort = 80;

IpAddress ClientIp(uint32_t i) { return IpAddress::V4(0x0b000000 + i / kConnectionsOfAnAddress); }

// Echoes, closes what the client has closed, and says what it has cost.
class Server {
 public:
  Server(int fd, const tcp::Options& options) : fd_(fd), side_(fd, options) { Listen(); }

  void Run() {
    for (;;) {
      const Head head = side_.Take();
      const int64_t begin_ns = ClockNs(CLOCK_THREAD_CPUTIME_ID);
      Turn(head);
      const int64_t took_ns = ClockNs(CLOCK_THREAD_CPUTIME_ID) - begin_ns;
      figures_.cpu_ns += took_ns;
      figures_.longest_ns = std::max(figures_.longest_ns, took_ns);
      if (head.order == Order::kQuit) return;
      if (head.order == Order::kSegments) {
        side_.Send({.now_ns = head.now_ns});
      } else {
        Tell();
      }
    }
  }

 private:
  void Listen() {
    Check(side_.engine().Listen(kServerIp, kServerPort, 1024).ok(), "cannot listen");
  }

  void Turn(const Head& head) {
    tcp::Engine& engine = side_.engine();
    if (head.order == Order::kReport) return;
    if (head.order == Order::kStopListening) {
      Check(engine.StopListening(kServerIp, kServerPort).ok(), "nobody listens");
    }
    if (head.order == Order::kListen) Listen();
    if (head.order == Order::kPathMtu) engine.OnPathMtu(ClientIp(0), 1400, head.now_ns);
    engine.Receive(side_.burst(), head.now_ns);
    side_.wheel().Advance(head.now_ns);
    StreamEvent events[kBatch];
    while (const size_t n = engine.TakeEvents(events)) {
      for (size_t i = 0; i < n; ++i) OnEvent(events[i], head.now_ns);
    }
    engine.Flush(head.now_ns);
  }

  void OnEvent(const StreamEvent& event, int64_t now_ns) {
    tcp::Engine& engine = side_.engine();
    if (event.kind == StreamEvent::Kind::kRemoteClosed) engine.Close(event.stream, now_ns);
    if (event.kind != StreamEvent::Kind::kReadable) return;
    for (auto view = engine.ReadView(event.stream); !view.empty();
         view = engine.ReadView(event.stream)) {
      const auto room = engine.Reserve(event.stream, view.size());
      Check(room.size() == view.size(), "the server is out of buffers");
      std::memcpy(room.data(), view.data(), view.size());
      engine.Commit(event.stream, room.size(), now_ns);
      engine.Consume(event.stream, view.size(), now_ns);
    }
  }

  void Tell() {
    malloc_trim(0);  // what the heap keeps is nobody's
    const tcp::TcpStats& stats = side_.engine().stats();
    figures_.resident_bytes = ResidentBytes();
    figures_.connections = stats.connections.value();
    figures_.buffers = stats.buffers_held.value();
    figures_.keepalives = stats.keepalive_probes.value();
    Check(send(fd_, &figures_, sizeof(figures_), 0) == sizeof(figures_), "send");
    figures_ = Figures();
  }

  const int fd_;
  Side side_;
  Figures figures_;
};

class Client {
 public:
  Client(int fd, uint32_t connections) : fd_(fd), side_(fd, Options()), count_(connections) {}

  static tcp::Options Options() {
    tcp::Options options;
    options.keepalive.all = true;
    options.delayed_ack_ns = 0;
    return options;
  }

  // `n` of them at once, until each has got as far.
  void Open() {
    Work([&](uint32_t i) {
      const auto port = static_cast<uint16_t>(1024 + i % kConnectionsOfAnAddress);
      const auto stream = engine().Connect({ClientIp(i), kServerIp, port, kServerPort}, now_ns_);
      Check(stream.ok(), "cannot connect");
      streams_.push_back(*stream);
    });
  }
  void Talk() {
    Work([&](uint32_t i) {
      const auto room = engine().Reserve(streams_[i], kRequestBytes);
      Check(room.size() == kRequestBytes, "the client is out of buffers");
      std::memset(room.data(), 'r', room.size());
      engine().Commit(streams_[i], room.size(), now_ns_);
    });
  }
  void Close() {
    Work([&](uint32_t i) { engine().Close(streams_[i], now_ns_); });
  }

  // Nothing is to be done for so long but what timers do.
  void Rest(int64_t ns) {
    const int64_t until_ns = now_ns_ + ns;
    while (now_ns_ < until_ns) {
      const int64_t next_ns = std::min(server_next_ns_, side_.wheel().NextDeadlineNs());
      now_ns_ = std::min(std::max(now_ns_ + kMs, next_ns), until_ns);
      do {
        Exchange();
      } while (more_ || !engine().pending().empty());
    }
    real_ns_ = ClockNs(CLOCK_MONOTONIC);
  }

  Figures Ask(Order order) {
    side_.Send({.order = order, .now_ns = now_ns_});
    Figures figures;
    Check(recv(fd_, &figures, sizeof(figures), 0) == sizeof(figures), "no figures");
    return figures;
  }
  void Quit() { side_.Send({.order = Order::kQuit, .now_ns = now_ns_}); }

 private:
  tcp::Engine& engine() { return side_.engine(); }

  template <typename F>
  void Work(F begin) {
    real_ns_ = ClockNs(CLOCK_MONOTONIC);
    done_ = 0;
    for (uint32_t begun = 0; done_ < count_;) {
      for (; begun < count_ && begun - done_ < kUnderWay; ++begun) begin(begun);
      const int64_t real_ns = ClockNs(CLOCK_MONOTONIC);
      now_ns_ += real_ns - real_ns_;
      real_ns_ = real_ns;
      Exchange();
    }
    do {
      Exchange();
    } while (more_ || !engine().pending().empty());
  }

  void Exchange() {
    side_.wheel().Advance(now_ns_);
    engine().Flush(now_ns_);
    side_.Send({.now_ns = now_ns_});
    const Head answer = side_.Take();
    more_ = answer.more;
    server_next_ns_ = answer.next_ns;
    engine().Receive(side_.burst(), now_ns_);
    StreamEvent events[kBatch];
    while (const size_t n = engine().TakeEvents(events)) {
      for (size_t i = 0; i < n; ++i) OnEvent(events[i]);
    }
  }

  void OnEvent(const StreamEvent& event) {
    switch (event.kind) {
      case StreamEvent::Kind::kConnected:
        ++done_;
        break;
      case StreamEvent::Kind::kReadable: {
        const auto view = engine().ReadView(event.stream);
        Check(view.size() == kRequestBytes && view[0] == 'r', "not what was said");
        engine().Consume(event.stream, view.size(), now_ns_);
        ++done_;
        break;
      }
      case StreamEvent::Kind::kClosed:
        Check(event.error == 0, "a connection has failed");
        ++done_;
        break;
      default:
        break;
    }
  }

  const int fd_;
  Side side_;
  const uint32_t count_;
  std::vector<StreamId> streams_;
  uint32_t done_ = 0;
  int64_t now_ns_ = kStartNs;
  int64_t real_ns_ = 0;
  int64_t server_next_ns_ = 0;
  bool more_ = false;
};

class Program {
 public:
  int Main() {
    const uint32_t count = absl::GetFlag(FLAGS_connections);
    Check(count > 0 && count <= 1'000'000, "--connections: from 1 to a million");
    int ends[2];
    Check(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0, "socketpair");
    const pid_t child = fork();
    Check(child >= 0, "fork");
    if (child == 0) {
      close(ends[0]);
      Server(ends[1], Client::Options()).Run();
      std::_Exit(0);
    }
    close(ends[1]);
    Measure(ends[0], count);
    int status = 0;
    Check(waitpid(child, &status, 0) == child && status == 0, "the server has failed");
    std::printf("%s\n%s", report_.Table().c_str(), bars_.Table().c_str());
    return report_.Finish("tcp_connections", absl::GetFlag(FLAGS_json), failed_);
  }

 private:
  void Measure(int fd, uint32_t count) {
    const double n = count;
    Client client(fd, count);
    const Figures empty = client.Ask(Order::kReport);
    client.Open();
    const Figures open = client.Ask(Order::kReport);
    Require(open.connections == count, "all are open");
    client.Rest(60 * kS);
    client.Ask(Order::kReport);
    client.Talk();
    client.Rest(10 * kS);
    const Figures talked = client.Ask(Order::kReport);
    const Figures stopped = client.Ask(Order::kStopListening);
    client.Ask(Order::kListen);
    const Figures narrow = client.Ask(Order::kPathMtu);
    client.Rest(2 * 3600 * kS + 60 * kS);
    const Figures kept = client.Ask(Order::kReport);
    Require(kept.keepalives >= count && kept.connections == count, "keepalives were answered");
    client.Talk();
    client.Rest(10 * kS);
    const Figures again = client.Ask(Order::kReport);
    Require(again.connections == count && again.buffers == 0, "all answer, and hold no buffers");
    client.Close();
    client.Rest(kS);
    const Figures closed = client.Ask(Order::kReport);
    Require(closed.connections == 0 && closed.buffers == 0, "nothing is left");
    client.Quit();

    const double table = static_cast<double>(std::bit_ceil(uint64_t{count} * 8 / 5)) * 8;
    const double each = (talked.resident_bytes - empty.resident_bytes - table) / n;
    report_.Add("server without connections", "MiB", {empty.resident_bytes / kMib});
    report_.Add("server with all of them, resting", "MiB", {open.resident_bytes / kMib});
    report_.Add("server when each has answered", "MiB", {talked.resident_bytes / kMib});
    report_.Add("server when all are closed", "MiB", {closed.resident_bytes / kMib});
    report_.Add("a connection that rests, beside the table", "bytes", {each});
    report_.Add("a connection, accepted", "ns of CPU", {static_cast<double>(open.cpu_ns) / n});
    report_.Add("a request, answered", "ns of CPU", {static_cast<double>(talked.cpu_ns) / n});
    report_.Add("a keepalive, sent and answered", "ns of CPU",
                {static_cast<double>(kept.cpu_ns) / n});
    report_.Add("a connection, closed", "ns of CPU", {static_cast<double>(closed.cpu_ns) / n});
    report_.Add("longest turn, accepting", "us", {Us(open)});
    report_.Add("longest turn, answering", "us", {Us(talked)});
    report_.Add("longest turn, keepalives", "us", {Us(kept)});
    report_.Add("longest turn, closing", "us", {Us(closed)});
    report_.Add("StopListening()", "us", {Us(stopped)});
    report_.Add("OnPathMtu() of 16 connections", "us", {Us(narrow)});
    bars_.AtMost("a connection that rests, bytes beside the table", each, 512);
    bars_.AtMost("server when each has answered, GiB", again.resident_bytes / kMib / 1024, 1);
    failed_ = failed_ || again.resident_bytes > 1024 * kMib || (count >= 100'000 && each > 512);
  }
  void Require(bool holds, const char* what) {
    if (!holds) std::printf("NOT SO: %s\n", what);
    failed_ = failed_ || !holds;
  }
  static double Us(const Figures& figures) {
    return static_cast<double>(figures.longest_ns) / 1000;
  }

  Report report_;
  Bars bars_;
  bool failed_ = false;
};

}  // namespace
}  // namespace weft::benchmarks

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Measures TCP connections that rest; docs/performance.md explains.");
  absl::ParseCommandLine(argc, argv);
  return weft::benchmarks::Program().Main();
}
