// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/tcp_bulk_ends.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "weft/benchmarks/floors/dpdk_floor.h"
#include "weft/core/unique_fd.h"
#include "weft/netstack/netstack_transport.h"
#include "weft/tcp/tcp_transport.h"
#include "weft/transports/registry.h"

namespace weft::benchmarks {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(10);
constexpr int kIdleTurns = 8;  // before an end sleeps
// Where nothing can be waited for, the longer the longer nothing comes: the other end may not have
// its core at present.
constexpr absl::Duration kNapShortest = absl::Microseconds(100);
constexpr absl::Duration kNapLongest = absl::Microseconds(800);
constexpr int kWaitMs = 10;

int64_t ProcessCpuNs() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const auto ns = [](const timeval& time) {
    return int64_t{time.tv_sec} * 1'000'000'000 + int64_t{time.tv_usec} * 1'000;
  };
  return ns(usage.ru_utime) + ns(usage.ru_stime);
}

Address At(const std::string& ip) { return *Address::Parse(absl::StrCat(ip, ":", kBulkPort)); }

}  // namespace

bool BulkMeter::Add(size_t bytes) {
  if (end_ns_ < 0) return false;
  bytes_ += bytes;
  if (end_ns_ == 0 && bytes == 0) return false;
  const int64_t now_ns = RealClock().NowNs();
  if (end_ns_ == 0) {
    begin_ns_ = now_ns;
    end_ns_ = now_ns + duration_ns_;
  }
  if (!warm_) {
    if (now_ns < begin_ns_ + duration_ns_ / 5) return false;
    warm_ = true;
    bytes_ = 0;
    cpu_ns_ = ProcessCpuNs();
  }
  if (now_ns < end_ns_ || bytes_ == 0) return false;
  end_ns_ = -1;
  cpu_ns_per_byte_ = static_cast<double>(ProcessCpuNs() - cpu_ns_) / static_cast<double>(bytes_);
  return true;
}

// --- The kernel's

namespace {

sockaddr_in NameAt(const std::string& ip) {
  sockaddr_in name = {};
  name.sin_family = AF_INET;
  name.sin_port = htons(kBulkPort);
  inet_pton(AF_INET, ip.c_str(), &name.sin_addr);
  return name;
}

absl::StatusOr<UniqueFd> KernelListen(const BulkEnd& end) {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int one = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  const sockaddr_in name = NameAt(end.own_ip);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof(name)) != 0 ||
      listen(fd.get(), 1) != 0) {
    return absl::ErrnoToStatus(errno, "cannot listen");
  }
  return fd;
}

absl::StatusOr<UniqueFd> KernelConnect(const BulkEnd& end) {
  const sockaddr_in name = NameAt(end.peer_ip);
  const absl::Time until = absl::Now() + kPatience;
  for (;;) {
    UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof(name)) == 0) return fd;
    if (absl::Now() > until) return absl::ErrnoToStatus(errno, "cannot connect");
    absl::SleepFor(absl::Milliseconds(10));
  }
}

}  // namespace

absl::Status RunKernelEnd(Peer& peer, const BulkEnd& end) {
  std::vector<char> piece(kBulkPieceBytes, 'x');
  BulkMeter meter(end.duration_ns);
  UniqueFd fd;
  if (end.sends) {
    auto connected = KernelConnect(end);
    if (!connected.ok()) return connected.status();
    fd = *std::move(connected);
  } else {
    const auto listener = KernelListen(end);
    if (!listener.ok()) return listener.status();
    peer.Report(0);
    fd = UniqueFd(accept(listener->get(), nullptr, nullptr));
  }
  // Linux's default, and weft's, whatever this machine's is.
  setsockopt(fd.get(), IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
  for (;;) {
    const ssize_t n = end.sends ? send(fd.get(), piece.data(), piece.size(), MSG_NOSIGNAL)
                                : recv(fd.get(), piece.data(), piece.size(), 0);
    if (n <= 0) return absl::ErrnoToStatus(n == 0 ? ECONNRESET : errno, "the stream has ended");
    if (meter.Add(static_cast<size_t>(n))) peer.Report(meter.cpu_ns_per_byte());
  }
}

// --- Weft's

namespace {

class WeftEnd {
 public:
  WeftEnd(Peer& peer, const BulkEnd& end, bool copy)
      : peer_(peer), end_(end), copy_(copy), piece_(kBulkPieceBytes, 'x'), meter_(end.duration_ns) {
    prctl(PR_SET_TIMERSLACK, 1);
  }

  absl::Status Open(const config::Transport& config) {
    auto frames = OpenPlainTransport(config);
    if (!frames.ok()) return frames.status();
    config::Netstack netstack;
    netstack.add_addresses(absl::StrCat(end_.own_ip, "/24"));
    auto stack = netstack::NetstackTransport::Open(*std::move(frames), netstack, /*workers=*/1);
    if (!stack.ok()) return stack.status();
    auto transport = tcp::TcpTransport::Open(*std::move(stack), config::Tcp());
    if (!transport.ok()) return transport.status();
    auto port = (*transport)->OpenStreamPort({});
    if (!port.ok()) return port.status();
    transport_ = *std::move(transport);
    port_ = *std::move(port);
    return absl::OkStatus();
  }

  absl::Status Begin() {
    if (end_.sends) return Connect();
    return port_->Listen(At(end_.own_ip), 1).status();
  }

  absl::Status Run() {
    StreamEvent events[16];
    for (int idle = 0;;) {
      const size_t n = port_->Poll(absl::MakeSpan(events));
      for (const StreamEvent& event : absl::MakeSpan(events, n)) {
        if (absl::Status status = Handle(event); !status.ok()) return status;
      }
      const size_t bytes = end_.sends ? Write() : Read();
      if (meter_.Add(bytes)) peer_.Report(meter_.cpu_ns_per_byte());
      if (n != 0 || bytes != 0) {
        idle = 0;
        nap_ = kNapShortest;
      } else if (++idle > kIdleTurns) {
        Wait();
      }
    }
  }

 private:
  absl::Status Connect() {
    auto stream = port_->Connect(At(end_.peer_ip));
    if (stream.ok()) stream_ = *stream;
    return stream.status();
  }

  absl::Status Handle(const StreamEvent& event) {
    switch (event.kind) {
      case StreamEvent::Kind::kAccepted:
        stream_ = event.stream;
        break;
      case StreamEvent::Kind::kConnected:
        connected_ = ready_ = true;
        break;
      case StreamEvent::Kind::kReadable:
      case StreamEvent::Kind::kWritable:
        ready_ = true;
        break;
      case StreamEvent::Kind::kRemoteClosed:
        return absl::UnavailableError("the stream has ended");
      case StreamEvent::Kind::kClosed:
        // Its peer may not be there yet.
        if (connected_ || !end_.sends) return absl::ErrnoToStatus(event.error, "stream");
        absl::SleepFor(absl::Milliseconds(10));
        return Connect();
    }
    return absl::OkStatus();
  }

  // As much as a send() of the kernel's end.
  size_t Write() {
    size_t written = 0;
    while (ready_ && written < piece_.size()) {
      const absl::Span<uint8_t> room = port_->Reserve(stream_, piece_.size() - written);
      ready_ = !room.empty();
      if (!ready_) break;
      std::memcpy(room.data(), piece_.data() + written, room.size());
      port_->Commit(stream_, room.size());
      written += room.size();
    }
    return written;
  }

  size_t Read() {
    size_t read = 0;
    while (ready_) {
      const absl::Span<const uint8_t> view = port_->ReadView(stream_);
      ready_ = !view.empty();
      for (size_t at = 0; copy_ && at < view.size(); at += piece_.size()) {
        std::memcpy(piece_.data(), view.data() + at, std::min(piece_.size(), view.size() - at));
      }
      port_->Consume(stream_, view.size());
      read += view.size();
    }
    return read;
  }

  void Wait() {
    if (port_->wait_fd() < 0) {
      absl::SleepFor(nap_);
      nap_ = std::min(2 * nap_, kNapLongest);
      return;
    }
    pollfd descriptor = {.fd = port_->wait_fd(), .events = POLLIN, .revents = 0};
    if (port_->Arm()) poll(&descriptor, 1, kWaitMs);
    port_->Disarm();
  }

  Peer& peer_;
  const BulkEnd& end_;
  const bool copy_;
  std::vector<uint8_t> piece_;
  BulkMeter meter_;
  std::unique_ptr<tcp::TcpTransport> transport_;
  std::unique_ptr<StreamPort> port_;
  StreamId stream_;
  bool connected_ = false;
  bool ready_ = false;
  absl::Duration nap_ = kNapShortest;
};

}  // namespace

absl::Status RunWeftEnd(Peer& peer, const BulkEnd& end, const config::Transport& transport,
                        bool copy, bool report_before_open) {
  WeftEnd weft(peer, end, copy);
  if (report_before_open) peer.Report(0);
  absl::Status status = floors::OpenWhenThere([&] { return weft.Open(transport); });
  if (status.ok()) status = weft.Begin();
  if (!status.ok()) return status;
  if (!report_before_open) peer.Report(0);
  return weft.Run();
}

}  // namespace weft::benchmarks
