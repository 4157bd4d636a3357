// SPDX-License-Identifier: Apache-2.0
//
// Connections to the kernel's TCP in each of their states: how they come about when both sides do
// the same at once, and how they end when one side resets them, reads nothing, or is gone.
#include <netinet/tcp.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/tcp/kernel_fixture.h"

namespace weft::tcp {
namespace {

using State = StreamInfo::State;

// A connection, of which nothing is read unless a test does.
struct Pair {
  UniqueFd kernel;
  StreamId weft;
};

class KernelStatesTest : public KernelFixture, public testing::WithParamInterface<bool> {
 protected:
  static bool v4() { return GetParam(); }

  // Waits until `done`; what happens to our streams is kept in events_.
  template <typename Done>
  bool Wait(Done done) {
    return Until([this](const StreamEvent& event) { events_.push_back(event); }, done);
  }
  bool Happened(StreamId stream, StreamEvent::Kind kind) const {
    for (const StreamEvent& event : events_) {
      if (event.stream == stream && event.kind == kind) return true;
    }
    return false;
  }
  // 0 unless it was closed by an error.
  int ErrorOf(StreamId stream) const {
    for (const StreamEvent& event : events_) {
      if (event.stream == stream && event.kind == StreamEvent::Kind::kClosed) return event.error;
    }
    return 0;
  }
  State StateOf(StreamId stream) {
    const auto info = port_->Info(stream);
    return info.ok() ? info->state : State::kClosed;
  }
  // Any time may pass before it.
  bool Reaches(StreamId stream, State state) {
    return Wait([&] { return StateOf(stream) == state; });
  }

  // The kernel is the client.
  Pair Accept() {
    if (address_.kind() == Address::Kind::kNone)
      address_ = port_->Listen(network_.ours(0), 8).value();
    Pair pair = {.kernel = network_.Connecting(address_.port()), .weft = {}};
    EXPECT_TRUE(Wait([&] {
      for (const StreamEvent& event : events_) {
        if (event.kind == StreamEvent::Kind::kAccepted) pair.weft = event.stream;
      }
      return static_cast<bool>(pair.weft);
    }));
    events_.clear();
    return pair;
  }
  // The kernel is the server.
  Pair Connect() {
    auto [listener, port] = network_.Listener();
    Pair pair;
    const auto stream = port_->Connect(network_.theirs(port));
    EXPECT_TRUE(stream.ok()) << stream.status();
    if (stream.ok()) pair.weft = *stream;
    EXPECT_TRUE(Wait([&, fd = listener.get()] {
      if (!pair.kernel) {
        pair.kernel = UniqueFd(accept4(fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      }
      return pair.kernel && Happened(pair.weft, StreamEvent::Kind::kConnected);
    }));
    events_.clear();
    return pair;
  }

  // Writes until the kernel, which reads nothing, takes no more.
  void Fill(const Pair& pair) {
    EXPECT_TRUE(Wait([&] {
      const absl::Span<uint8_t> room = port_->Reserve(pair.weft, 16384);
      std::fill(room.begin(), room.end(), 'x');
      port_->Commit(pair.weft, room.size());
      const auto info = port_->Info(pair.weft);
      return info.ok() && info->send_window_bytes < info->send_mss_bytes && info->unsent_bytes > 0;
    }));
  }
  void Shrink(const Pair& pair) {
    const int bytes = 4096;
    setsockopt(pair.kernel.get(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
  }
  // Reads all that the kernel has got, up to an error or the end; how many bytes that was.
  size_t Drain(const UniqueFd& fd) {
    size_t bytes = 0;
    char piece[65536];
    for (ssize_t n; (n = recv(fd.get(), piece, sizeof(piece), 0)) > 0;)
      bytes += static_cast<size_t>(n);
    return bytes;
  }
  static int SocketError(const UniqueFd& fd) {
    int error = 0;
    socklen_t length = sizeof(error);
    getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &length);
    return error;
  }
  static void Abort(UniqueFd fd) {
    const linger abort = {.l_onoff = 1, .l_linger = 0};
    EXPECT_EQ(setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &abort, sizeof(abort)), 0);
  }

  std::vector<StreamEvent> events_;
  Address address_;
};

INSTANTIATE_TEST_SUITE_P(Families, KernelStatesTest, testing::Values(true, false),
                         [](const auto& info) { return info.param ? "ipv4" : "ipv6"; });

struct Way {
  State state;
  bool kernel_ends;  // writing
  bool we_end;
  bool stuck;  // our bytes, and so our end, do not get through
};
constexpr Way kWays[] = {
    {State::kEstablished, false, false, false}, {State::kEstablished, false, false, true},
    {State::kFinWait1, false, true, true},      {State::kFinWait2, false, true, false},
    {State::kCloseWait, true, false, false},    {State::kCloseWait, true, false, true},
    {State::kClosing, true, true, true},
};

TEST_P(KernelStatesTest, ResetsAreHeardInEachState) {
  Open({.v4 = v4()});
  if (IsSkipped()) return;
  for (const Way& way : kWays) {
    for (int i = 0; i < 4; ++i) {
      const bool kernel_is_client = (i & 1) != 0;
      const bool kernel_resets = (i & 2) != 0;
      SCOPED_TRACE(absl::StrCat(StreamStateName(way.state), way.stuck ? ", stuck" : "",
                                kernel_is_client ? ", accepted" : ", connected",
                                kernel_resets ? ", the kernel resets" : ", we reset"));
      Pair pair = kernel_is_client ? Accept() : Connect();
      if (way.stuck) {
        Shrink(pair);
        Fill(pair);
      }
      if (way.we_end && way.state != State::kClosing) port_->CloseWrite(pair.weft);
      if (way.kernel_ends) {
        EXPECT_EQ(shutdown(pair.kernel.get(), SHUT_WR), 0);
      }
      if (way.state == State::kClosing) {
        // Before the kernel's end is seen.
        EXPECT_EQ(StateOf(pair.weft), State::kEstablished);
        port_->CloseWrite(pair.weft);
      }
      EXPECT_TRUE(Reaches(pair.weft, way.state)) << StreamStateName(StateOf(pair.weft));
      if (kernel_resets) {
        Abort(std::move(pair.kernel));
        EXPECT_TRUE(Wait([&] { return Happened(pair.weft, StreamEvent::Kind::kClosed); }));
        EXPECT_EQ(ErrorOf(pair.weft), ECONNRESET);
      } else {
        port_->Abort(pair.weft);
        int error = 0;
        EXPECT_TRUE(Wait([&] { return (error = SocketError(pair.kernel)) != 0; }));
        // What it cannot write to, or has heard the end of, is a broken pipe.
        EXPECT_TRUE(error == ECONNRESET || error == EPIPE) << error;
        EXPECT_EQ(ErrorOf(pair.weft), ECONNABORTED);
      }
      EXPECT_TRUE(Wait([&] { return stats().connections.value() == 0; }));
      EXPECT_EQ(stats().buffers_held.value(), 0);
      events_.clear();
    }
  }
}

// The kernel, our client, is gone before it hears our answer.
TEST_P(KernelStatesTest, AHandshakeIsReset) {
  Open({.v4 = v4()});
  if (IsSkipped()) return;
  Accept();  // neighbours know each other
  const uint64_t before = stats().syns_received.value();
  network_.Connecting(address_.port());
  EXPECT_TRUE(Wait([&] { return stats().syns_received.value() > before; }));
  EXPECT_TRUE(Wait([&] { return stats().half_open.value() == 0; }));
  EXPECT_EQ(stats().passive_opens.value(), 1u);
  EXPECT_EQ(stats().half_open_timeouts.value(), 0u) << "it was the reset that ended it";
}

// Nobody listens: each side's SYN meets the other's (RFC 9293, figure 7).
TEST_P(KernelStatesTest, BothConnectAtOnce) {
  Open({.v4 = v4()});
  if (IsSkipped()) return;
  Accept();  // neighbours know each other
  auto from = network_.transport().OpenStreamPort({.local = network_.ours(40'000)});
  ASSERT_TRUE(from.ok()) << from.status();
  port_ = *std::move(from);
  UniqueFd kernel = network_.Socket();
  const auto theirs = linux_transport::ToSocketAddress(network_.theirs(41'000));
  const auto ours = linux_transport::ToSocketAddress(network_.ours(40'000));
  ASSERT_EQ(bind(kernel.get(), &theirs.any, theirs.length), 0);
  ASSERT_EQ(connect(kernel.get(), &ours.any, ours.length), -1);
  ASSERT_EQ(errno, EINPROGRESS);
  // Its SYN waits in the device.
  const auto stream = port_->Connect(network_.theirs(41'000));
  ASSERT_TRUE(stream.ok()) << stream.status();
  const std::string text = RandomText(100'000, 5);
  KernelExchange client(std::move(kernel), text);
  WeftExchange server(port_.get(), *stream, text);
  bool over = false;
  EXPECT_TRUE(Until([&](const StreamEvent& event) { server.Handle(event); },
                    [&] {
                      over = over || client.Step();
                      return over && server.closed();
                    }));
  EXPECT_EQ(client.error(), "");
  EXPECT_EQ(server.error(), 0);
  EXPECT_TRUE(client.got() == text);
  EXPECT_TRUE(server.got() == text);
  EXPECT_EQ(stats().resets_received.value(), 0u);
}

// And again over the same addresses and ports at once, while one side rests (RFC 6191).
TEST_P(KernelStatesTest, TimeWaitGivesWay) {
  Open({.v4 = v4()});
  if (IsSkipped()) return;
  Accept();
  for (int i = 0; i < 4; ++i) {
    SCOPED_TRACE(i);
    UniqueFd kernel = network_.Socket();
    const int yes = 1;
    setsockopt(kernel.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    const auto theirs = linux_transport::ToSocketAddress(network_.theirs(41'000));
    const auto ours = linux_transport::ToSocketAddress(network_.ours(address_.port()));
    ASSERT_EQ(bind(kernel.get(), &theirs.any, theirs.length), 0);
    EXPECT_EQ(connect(kernel.get(), &ours.any, ours.length), -1);
    StreamId stream;
    ASSERT_TRUE(Wait([&] {
      for (const StreamEvent& event : events_) {
        if (event.kind == StreamEvent::Kind::kAccepted) stream = event.stream;
      }
      return static_cast<bool>(stream);
    }));
    port_->Close(stream);
    char byte;
    EXPECT_TRUE(Wait([&] { return recv(kernel.get(), &byte, 1, 0) == 0; }));
    kernel.Reset();
    EXPECT_TRUE(Wait([&] { return Happened(stream, StreamEvent::Kind::kClosed); }));
    EXPECT_TRUE(Wait([&] { return stats().connections.value() == 1; }));
    EXPECT_EQ(ErrorOf(stream), 0);
    events_.clear();
  }
  EXPECT_EQ(stats().time_wait_reused.value(), 3u);
  EXPECT_EQ(stats().time_wait.value(), 1);
}

// Windows that close, are probed, and open again, in either direction.
TEST_P(KernelStatesTest, ReadersThatSleep) {
  config::Tcp tcp;
  tcp.set_receive_buffer_bytes(8192);
  tcp.set_receive_buffer_bytes_max(8192);
  Open({.v4 = v4(), .tcp = tcp});
  if (IsSkipped()) return;
  ASSERT_TRUE(network_.Set("tcp_rmem", "4096 8192 8192").ok());
  const Pair pair = Accept();
  Fill(pair);
  const uint64_t probes = stats().window_probes.value();
  EXPECT_TRUE(Wait([&] { return stats().window_probes.value() > probes; }));
  EXPECT_EQ(StateOf(pair.weft), State::kEstablished);
  const auto info = port_->Info(pair.weft);
  ASSERT_TRUE(info.ok());
  const size_t written = info->bytes_acked + info->unsent_bytes;
  size_t read = 0;
  EXPECT_TRUE(Wait([&] {
    read += Drain(pair.kernel);
    return read >= written;
  })) << read
      << " of " << written;

  // The kernel's, as long as ours is not read.
  const std::string text = RandomText(60'000, 6);
  size_t sent = 0;
  const auto send_some = [&] {
    const ssize_t n = send(pair.kernel.get(), text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (n > 0) sent += static_cast<size_t>(n);
  };
  uint64_t segments = 0;
  EXPECT_TRUE(Wait([&] {
    send_some();
    const auto now = port_->Info(pair.weft);
    if (now.ok() && now->receive_window_bytes == 0 && segments == 0) {
      segments = now->segments_received;
    }
    return segments != 0 && now->segments_received > segments;  // a probe
  }));
  std::string got;
  EXPECT_TRUE(Wait([&] {
    send_some();
    // In small pieces, as who is slow does.
    const absl::Span<const uint8_t> in = port_->ReadView(pair.weft);
    got.append(reinterpret_cast<const char*>(in.data()), std::min<size_t>(in.size(), 100));
    port_->Consume(pair.weft, std::min<size_t>(in.size(), 100));
    return got.size() >= text.size();
  })) << got.size();
  EXPECT_TRUE(got == text);
}

// Who answers probes stays; who does not is found out.
TEST_P(KernelStatesTest, KeepaliveFindsTheDead) {
  Open({.v4 = v4()});
  if (IsSkipped()) return;
  const Pair asked = Connect();
  const Pair asking = Connect();
  ASSERT_EQ(port_->SetOptions(asked.weft, {.keepalive = true,
                                           .keepalive_idle_s = 1,
                                           .keepalive_interval_s = 1,
                                           .keepalive_probes = 1}),
            absl::OkStatus());
  const int one = 1;
  setsockopt(asking.kernel.get(), SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
  for (const int option : {TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT}) {
    setsockopt(asking.kernel.get(), IPPROTO_TCP, option, &one, sizeof(one));
  }
  const auto answered = [&](StreamId stream) { return port_->Info(stream)->segments_received; };
  const uint64_t before = answered(asking.weft);
  EXPECT_TRUE(Wait([&] {
    return stats().keepalive_probes.value() >= 2 && answered(asking.weft) >= before + 2;
  }));
  EXPECT_EQ(StateOf(asked.weft), State::kEstablished);
  EXPECT_EQ(StateOf(asking.weft), State::kEstablished);
  EXPECT_EQ(SocketError(asking.kernel), 0);
  // The machine is still there, but it does not want to know.
  ASSERT_EQ(network_.there().Ip(v4() ? "rule add from all iif lo blackhole"
                                     : "-6 rule add from all iif lo blackhole"),
            absl::OkStatus());
  EXPECT_TRUE(Wait([&] { return Happened(asked.weft, StreamEvent::Kind::kClosed); }));
  EXPECT_EQ(ErrorOf(asked.weft), ETIMEDOUT);
  EXPECT_EQ(StateOf(asking.weft), State::kEstablished) << "it has not asked";
}

}  // namespace
}  // namespace weft::tcp
