// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/linux/linux_stream_port.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "weft/core/prng.h"
#include "weft/transports/linux/linux_test_util.h"
#include "weft/transports/linux/socket.h"

namespace weft::linux_transport {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Kind = StreamEvent::Kind;

// A port and what has happened at it.
class Host {
 public:
  explicit Host(Transport& transport, int queue = 0, int queues = 1)
      : port_(
            ValueOrDie(transport.OpenStreamPort({.local = {}, .queue = queue, .queues = queues}))) {
  }

  StreamPort* operator->() { return port_.get(); }
  StreamPort& port() { return *port_; }

  void Poll() {
    StreamEvent events[8];
    for (size_t i = 0, n = port_->Poll(absl::MakeSpan(events)); i < n; ++i) {
      log_.push_back(events[i]);
    }
  }
  // The next event; the caller polls.
  bool Next(StreamEvent* event) {
    if (log_.empty()) return false;
    *event = log_.front();
    log_.pop_front();
    return true;
  }
  // All that has arrived.
  std::string Take(StreamId stream) {
    std::string text;
    for (auto view = port_->ReadView(stream); !view.empty(); view = port_->ReadView(stream)) {
      text.append(reinterpret_cast<const char*>(view.data()), view.size());
      port_->Consume(stream, view.size());
    }
    return text;
  }
  // Returns how much there was room for.
  size_t Put(StreamId stream, absl::string_view text) {
    size_t done = 0;
    while (done < text.size()) {
      const absl::Span<uint8_t> room = port_->Reserve(stream, text.size() - done);
      if (room.empty()) break;
      std::copy_n(text.data() + done, room.size(), room.data());
      port_->Commit(stream, room.size());
      done += room.size();
    }
    return done;
  }

 private:
  std::unique_ptr<StreamPort> port_;
  std::deque<StreamEvent> log_;
};

class LinuxStreamPortTest : public testing::TestWithParam<const char*> {
 protected:
  // The next event of `at`, which is to be of `kind`.
  StreamEvent Expect(Host& at, Kind kind) {
    StreamEvent event = {};
    const absl::Time give_up = absl::Now() + absl::Milliseconds(kPatienceMs);
    while (!at.Next(&event)) {
      if (absl::Now() > give_up) {
        ADD_FAILURE() << "no event of kind " << static_cast<int>(kind);
        return event;
      }
      client_.Poll();
      server_.Poll();
    }
    EXPECT_EQ(static_cast<int>(event.kind), static_cast<int>(kind));
    return event;
  }

  void ConnectPair() {
    const Address address = server_->Listen(At(GetParam()), 128).value();
    ours_ = client_->Connect(address).value();
    EXPECT_EQ(Expect(client_, Kind::kConnected).stream, ours_);
    theirs_ = Expect(server_, Kind::kAccepted).stream;
  }

  // Polls until `n` bytes have come to `at`.
  std::string TakeBytes(Host& at, StreamId stream, size_t n) {
    std::string text;
    const absl::Time give_up = absl::Now() + absl::Milliseconds(kPatienceMs);
    while (text.size() < n && absl::Now() < give_up) {
      client_.Poll();
      server_.Poll();
      text += at.Take(stream);
    }
    return text;
  }

  std::unique_ptr<Transport> transport_ = OpenLinux();
  Host client_{*transport_};
  Host server_{*transport_};
  StreamId ours_;    // the client's end
  StreamId theirs_;  // the server's
};

INSTANTIATE_TEST_SUITE_P(, LinuxStreamPortTest, testing::Values("127.0.0.1:0", "[::1]:0"),
                         [](const auto& info) { return info.param[0] == '[' ? "Ipv6" : "Ipv4"; });

std::string Pattern(size_t size) {
  std::string text(size, '\0');
  Prng random(size);
  for (char& c : text) c = static_cast<char>(random.Next());
  return text;
}

TEST_P(LinuxStreamPortTest, ConnectsAndKnowsAddresses) {
  ConnectPair();
  EXPECT_EQ(client_->PeerAddress(ours_).value(), server_->local_address());
  EXPECT_EQ(server_->PeerAddress(theirs_).value().kind(), server_->local_address().kind());
  client_.Put(ours_, "hello");
  Expect(server_, Kind::kReadable);
  EXPECT_EQ(server_.Take(theirs_), "hello");
}

TEST_P(LinuxStreamPortTest, EchoesTenMegabytesInRandomChunks) {
  ConnectPair();
  const std::string data = Pattern(10'000'000);
  std::string back;
  size_t sent = 0;
  Prng random(1);
  const absl::Time give_up = absl::Now() + absl::Milliseconds(3 * kPatienceMs);
  while (back.size() < data.size() && absl::Now() < give_up) {
    const size_t n = std::min<size_t>(data.size() - sent, random.Next() % 100'000);
    sent += client_.Put(ours_, absl::string_view(data).substr(sent, n));
    client_.Poll();
    server_.Poll();
    // The server takes a random part of what it sees, as far as it can send it back.
    const absl::Span<const uint8_t> in = server_->ReadView(theirs_);
    const size_t take = in.empty() ? 0 : random.Next() % in.size() + 1;
    const absl::Span<uint8_t> out = server_->Reserve(theirs_, take);
    std::copy_n(in.begin(), out.size(), out.begin());
    server_->Commit(theirs_, out.size());
    server_->Consume(theirs_, out.size());
    back += client_.Take(ours_);
  }
  EXPECT_TRUE(back == data);
}

TEST_P(LinuxStreamPortTest, HalfClose) {
  ConnectPair();
  client_.Put(ours_, "request");
  client_->CloseWrite(ours_);
  EXPECT_TRUE(client_->Reserve(ours_, 1).empty());
  Expect(server_, Kind::kReadable);
  Expect(server_, Kind::kRemoteClosed);
  EXPECT_EQ(server_.Take(theirs_), "request");
  server_.Put(theirs_, "response");
  server_->CloseWrite(theirs_);
  Expect(client_, Kind::kReadable);
  Expect(client_, Kind::kRemoteClosed);
  EXPECT_EQ(client_.Take(ours_), "response");
  EXPECT_EQ(Expect(client_, Kind::kClosed).error, 0);
  EXPECT_EQ(Expect(server_, Kind::kClosed).error, 0);
}

TEST_P(LinuxStreamPortTest, CloseSendsWhatIsCommittedThoughTheOtherSideGoesOnSending) {
  ConnectPair();
  server_.Put(theirs_, Pattern(200'000));
  Expect(client_, Kind::kReadable);
  const std::string last_words = Pattern(100'000);
  ASSERT_EQ(client_.Put(ours_, last_words), last_words.size());
  client_->Close(ours_);
  EXPECT_EQ(Expect(client_, Kind::kClosed).error, 0);
  for (int i = 0; i < 20; ++i) {
    server_.Put(theirs_, Pattern(50'000));
    server_.Poll();
    client_.Poll();
  }
  EXPECT_TRUE(TakeBytes(server_, theirs_, last_words.size()) == last_words);
  server_->Close(theirs_);
  StreamEvent event = {};
  while (event.kind != Kind::kClosed) {
    server_.Poll();
    client_.Poll();
    server_.Next(&event);
  }
  EXPECT_EQ(event.error, 0);
}

TEST_P(LinuxStreamPortTest, AbortResetsTheOtherSide) {
  ConnectPair();
  client_.Put(ours_, "never sent");
  client_->Abort(ours_);
  EXPECT_EQ(Expect(client_, Kind::kClosed).error, ECONNABORTED);
  const StreamEvent event = Expect(server_, Kind::kClosed);
  EXPECT_EQ(event.stream, theirs_);
  EXPECT_EQ(event.error, ECONNRESET);
}

TEST_P(LinuxStreamPortTest, WhatArrivedBeforeAResetCanStillBeRead) {
  ConnectPair();
  client_.Put(ours_, "last words");
  client_.Poll();
  client_->Abort(ours_);
  Expect(server_, Kind::kReadable);
  EXPECT_EQ(server_.Take(theirs_), "last words");
  EXPECT_EQ(Expect(server_, Kind::kClosed).error, ECONNRESET);
}

TEST_P(LinuxStreamPortTest, RefusedConnectionIsAnEvent) {
  Address nobody;
  {
    Host gone(*transport_);
    nobody = gone->Listen(At(GetParam()), 1).value();
  }
  ours_ = client_->Connect(nobody).value();
  const StreamEvent event = Expect(client_, Kind::kClosed);
  EXPECT_EQ(event.stream, ours_);
  EXPECT_EQ(event.error, ECONNREFUSED);
}

TEST_P(LinuxStreamPortTest, BackPressureIsBoundedAndEnds) {
  ConnectPair();
  // The server consumes nothing: sending stops, far below what would fill memory.
  size_t sent = 0;
  const std::string block = Pattern(1 << 20);
  for (int idle = 0; idle < 1000; ++idle) {
    const size_t n = client_.Put(ours_, block);
    if (n > 0) idle = 0;
    sent += n;
    ASSERT_LT(sent, 64u << 20);
    client_.Poll();
    server_.Poll();
  }
  // Both sides are at rest, so that a loop could sleep.
  EXPECT_TRUE(client_->Arm());
  EXPECT_TRUE(server_->Arm());
  EXPECT_EQ(TakeBytes(server_, theirs_, sent).size(), sent);
  StreamEvent event = {};
  const absl::Time give_up = absl::Now() + absl::Milliseconds(kPatienceMs);
  while (event.kind != Kind::kWritable && absl::Now() < give_up) {
    client_.Poll();
    client_.Next(&event);
  }
  EXPECT_EQ(static_cast<int>(event.kind), static_cast<int>(Kind::kWritable));
  EXPECT_FALSE(client_->Reserve(ours_, 1000).empty());
}

TEST_P(LinuxStreamPortTest, TwoHundredStreamsAtOnce) {
  constexpr size_t kStreams = 200;
  const std::string data = Pattern(20'000);
  const Address address = server_->Listen(At(GetParam()), 256).value();
  absl::flat_hash_map<StreamId, std::string> received;
  for (size_t i = 0; i < kStreams; ++i) received[client_->Connect(address).value()];
  size_t closed = 0;
  const absl::Time give_up = absl::Now() + absl::Milliseconds(kPatienceMs);
  while (closed < 2 * kStreams && absl::Now() < give_up) {
    StreamEvent event;
    for (Host* host : {&client_, &server_}) {
      host->Poll();
      while (host->Next(&event)) {
        if (event.kind == Kind::kClosed) {
          EXPECT_EQ(event.error, 0);
          ++closed;
        } else if (host == &server_) {
          if (event.kind == Kind::kReadable) host->Put(event.stream, host->Take(event.stream));
          if (event.kind == Kind::kRemoteClosed) (*host)->Close(event.stream);
        } else if (event.kind == Kind::kConnected) {
          EXPECT_EQ(host->Put(event.stream, data), data.size());
          (*host)->CloseWrite(event.stream);
        } else if (event.kind == Kind::kReadable) {
          received[event.stream] += host->Take(event.stream);
        }
      }
    }
  }
  for (const auto& [stream, text] : received) EXPECT_TRUE(text == data) << stream.value;
  EXPECT_EQ(received.size(), kStreams);
}

TEST_P(LinuxStreamPortTest, ABusyStreamDoesNotStarveAnother) {
  ConnectPair();
  const StreamId busy = ours_;
  const StreamId busy_far = theirs_;
  const StreamId calm = client_->Connect(server_->local_address()).value();
  Expect(client_, Kind::kConnected);
  const StreamId calm_far = Expect(server_, Kind::kAccepted).stream;
  const std::string block = Pattern(1 << 20);
  const absl::Time give_up = absl::Now() + absl::Milliseconds(kPatienceMs);
  for (int round = 0; round < 50; ++round) {
    client_.Put(calm, "ping");
    std::string text;
    while (text.empty() && absl::Now() < give_up) {
      client_.Put(busy, block);
      client_.Poll();
      server_.Poll();
      server_.Take(busy_far);
      text = server_.Take(calm_far);
    }
    EXPECT_EQ(text, "ping");
  }
}

// The descriptor of this process whose socket is connected from `local`; -1 if there is none.
int SocketAt(const Address& local) {
  for (int fd = 3; fd < 1024; ++fd) {
    SocketAddress name;
    SocketAddress peer;
    if (getsockname(fd, &name.any, &name.length) == 0 &&
        (name.any.sa_family == AF_INET || name.any.sa_family == AF_INET6) &&
        getpeername(fd, &peer.any, &peer.length) == 0 && ToAddress(name) == local) {
      return fd;
    }
  }
  return -1;
}

TEST_P(LinuxStreamPortTest, OptionsReachTheKernel) {
  ConnectPair();
  ASSERT_EQ(client_->SetOptions(ours_, {.no_delay = false,
                                        .cork = true,
                                        .keepalive = true,
                                        .keepalive_idle_s = 31,
                                        .keepalive_interval_s = 7,
                                        .keepalive_probes = 5,
                                        .user_timeout_ms = 12'345,
                                        .send_buffer_bytes = 50'000,
                                        .receive_buffer_bytes = 60'000,
                                        .dscp = 46,
                                        .ttl = 17,
                                        .congestion_control = "reno"}),
            absl::OkStatus());
  const int fd = SocketAt(client_->LocalAddress(ours_).value());
  ASSERT_GE(fd, 0);
  const auto option = [fd](int level, int name) {
    int value = -1;
    socklen_t length = sizeof(value);
    EXPECT_EQ(getsockopt(fd, level, name, &value, &length), 0);
    return value;
  };
  EXPECT_EQ(option(IPPROTO_TCP, TCP_NODELAY), 0);
  EXPECT_EQ(option(IPPROTO_TCP, TCP_CORK), 1);
  EXPECT_EQ(option(SOL_SOCKET, SO_KEEPALIVE), 1);
  EXPECT_EQ(option(IPPROTO_TCP, TCP_KEEPIDLE), 31);
  EXPECT_EQ(option(IPPROTO_TCP, TCP_KEEPINTVL), 7);
  EXPECT_EQ(option(IPPROTO_TCP, TCP_KEEPCNT), 5);
  EXPECT_EQ(option(IPPROTO_TCP, TCP_USER_TIMEOUT), 12'345);
  EXPECT_EQ(option(SOL_SOCKET, SO_SNDBUF), 100'000);  // the kernel doubles it (socket(7))
  EXPECT_EQ(option(SOL_SOCKET, SO_RCVBUF), 120'000);
  const bool v6 = client_->LocalAddress(ours_)->kind() == Address::Kind::kIpv6;
  EXPECT_EQ(v6 ? option(IPPROTO_IPV6, IPV6_TCLASS) : option(IPPROTO_IP, IP_TOS), 46 << 2);
  EXPECT_EQ(v6 ? option(IPPROTO_IPV6, IPV6_UNICAST_HOPS) : option(IPPROTO_IP, IP_TTL), 17);

  // What has no value is left alone.
  ASSERT_EQ(client_->SetOptions(ours_, {.cork = false}), absl::OkStatus());
  EXPECT_EQ(option(IPPROTO_TCP, TCP_CORK), 0);
  EXPECT_EQ(option(SOL_SOCKET, SO_KEEPALIVE), 1);
  const absl::StatusOr<StreamInfo> info = client_->Info(ours_);
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->congestion_control, "reno");
  EXPECT_EQ(info->state, StreamInfo::State::kEstablished);
  EXPECT_EQ(info->recovery, StreamInfo::Recovery::kOpen);
  EXPECT_EQ(info->unread_bytes + info->unacked_bytes, 0u);
  EXPECT_THAT(std::string(client_->SetOptions(ours_, {.congestion_control = "none"}).message()),
              HasSubstr("'none'"));
}

TEST_P(LinuxStreamPortTest, StaleStreamsAreHarmless) {
  ConnectPair();
  client_->Abort(ours_);
  Expect(client_, Kind::kClosed);
  Expect(server_, Kind::kClosed);
  client_.Poll();
  for (int i = 0; i < 3; ++i) {
    // The same slot serves another stream, which feels nothing of what is done to the old one.
    const StreamId fresh = client_->Connect(server_->local_address()).value();
    Expect(client_, Kind::kConnected);
    const StreamId far = Expect(server_, Kind::kAccepted).stream;
    for (StreamId stale : {ours_, StreamId{}, StreamId{~uint64_t{0}}, StreamId{123}}) {
      EXPECT_TRUE(client_->ReadView(stale).empty());
      EXPECT_TRUE(client_->Reserve(stale, 10).empty());
      client_->Commit(stale, 10);
      client_->Consume(stale, 10);
      client_->CloseWrite(stale);
      client_->Close(stale);
      client_->Abort(stale);
      EXPECT_TRUE(absl::IsNotFound(client_->PeerAddress(stale).status()));
    }
    client_.Put(fresh, "alive");
    EXPECT_EQ(TakeBytes(server_, far, 5), "alive");
    Expect(server_, Kind::kReadable);
    client_->Abort(fresh);
    Expect(client_, Kind::kClosed);
    Expect(server_, Kind::kClosed);
  }
}

TEST_P(LinuxStreamPortTest, PlainSocketsSeeExactlyTheBytes) {
  const Address address = server_->Listen(At(GetParam()), 1).value();
  const SocketAddress to = ToSocketAddress(address);
  UniqueFd plain(socket(to.any.sa_family, SOCK_STREAM, 0));
  ASSERT_EQ(connect(plain.get(), &to.any, to.length), 0);
  theirs_ = Expect(server_, Kind::kAccepted).stream;
  ASSERT_EQ(send(plain.get(), "ping", 4, 0), 4);
  EXPECT_EQ(TakeBytes(server_, theirs_, 4), "ping");
  server_.Put(theirs_, "pong");
  server_->Close(theirs_);
  server_.Poll();
  char bytes[16];
  EXPECT_EQ(recv(plain.get(), bytes, sizeof(bytes), MSG_WAITALL), 4);
  EXPECT_EQ(std::string(bytes, 4), "pong");
  EXPECT_EQ(recv(plain.get(), bytes, sizeof(bytes), 0), 0);
}

TEST_P(LinuxStreamPortTest, QueuesShareAnAddress) {
  Host first(*transport_, 0, 2);
  Host second(*transport_, 1, 2);
  const Address address = first->Listen(At(GetParam()), 64).value();
  EXPECT_EQ(second->Listen(address, 64).value(), address);
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(client_->Connect(address).ok());
  std::map<Host*, int> accepted;
  const absl::Time give_up = absl::Now() + absl::Milliseconds(kPatienceMs);
  while (accepted[&first] + accepted[&second] < 60 && absl::Now() < give_up) {
    client_.Poll();
    for (Host* host : {&first, &second}) {
      host->Poll();
      for (StreamEvent event; host->Next(&event);) accepted[host] += event.kind == Kind::kAccepted;
    }
  }
  EXPECT_GT(accepted[&first], 0);
  EXPECT_GT(accepted[&second], 0);
}

TEST_P(LinuxStreamPortTest, WithoutDescriptorsConnectionsWaitAndTheLoopCanSleep) {
  const Address address = server_->Listen(At(GetParam()), 8).value();
  const StreamId first = client_->Connect(address).value();
  Expect(client_, Kind::kConnected);
  const StreamId far = Expect(server_, Kind::kAccepted).stream;
  const StreamId second = client_->Connect(address).value();  // the kernel does it on its own

  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none = {.rlim_cur = 3, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  for (int i = 0; i < 10; ++i) server_.Poll();
  StreamEvent event;
  EXPECT_FALSE(server_.Next(&event));
  EXPECT_TRUE(server_->Arm());
  const auto refused = client_->Connect(address);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(absl::IsResourceExhausted(refused.status())) << refused.status();
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("ulimit -n"));

  client_->Abort(first);  // the server's end closes: there is a descriptor again
  EXPECT_EQ(Expect(server_, Kind::kClosed).stream, far);
  Expect(server_, Kind::kAccepted);
  EXPECT_TRUE(client_->PeerAddress(second).ok());
}

TEST_P(LinuxStreamPortTest, RefusesWhatCannotWorkAndSaysWhy) {
  const Address address = server_->Listen(At(GetParam()), 8).value();
  EXPECT_TRUE(absl::IsAlreadyExists(client_->Listen(address, 8).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(client_->Listen(At("shm:x"), 8).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(client_->Connect(At("sim:x")).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(client_->Listen(At("192.0.2.77:0"), 8).status()));
}

}  // namespace
}  // namespace weft::linux_transport
