// SPDX-License-Identifier: Apache-2.0
//
// What only several processes show: death, sleep, permissions, many comings and goings.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "weft/transports/shm/shm_datagram_port.h"
#include "weft/transports/shm/test_util.h"

namespace weft::shm {
namespace {

// Runs `body` in a child process; its result is the exit status.
template <typename Body>
pid_t Fork(Body body) {
  const pid_t pid = fork();
  if (pid == 0) _exit(body());
  return pid;
}

int Wait(pid_t pid) {
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// Sleeps until there may be something to receive. Only this thread's arming and the port's
// wake-ups decide: without them the test hangs.
template <typename AnyPort>
void SleepUntilWork(AnyPort& port) {
  if (!port.Arm()) return;
  pollfd fd = {port.wait_fd(), POLLIN, 0};
  poll(&fd, 1, -1);
  port.Disarm();
}

Datagram ReceiveAsleep(DatagramPort& port) {
  Datagram burst[1];
  while (port.Receive(absl::MakeSpan(burst)) == 0) SleepUntilWork(port);
  return std::move(burst[0]);
}

class ShmProcessTest : public ::testing::Test {
 protected:
  TempDirectory directory_;
  std::unique_ptr<Transport> transport_ = OpenShm(Config(directory_.path()));
};

TEST_F(ShmProcessTest, NoWakeUpIsLost) {
  constexpr int kRounds = 20'000;
  auto server = OpenPort(*transport_, "srv");
  const pid_t child = Fork([&] {
    auto transport = OpenShm(Config(directory_.path()));
    auto client = OpenPort(*transport);
    const Peer to = *client->Resolve(Address::Shm("srv"));
    for (int i = 0; i < kRounds; ++i) {
      if (!SendText(*client, to, std::to_string(i))) return 1;
      if (Text(ReceiveAsleep(*client).buffer) != std::to_string(i)) return 2;
    }
    return 0;
  });
  for (int i = 0; i < kRounds; ++i) {
    Datagram request[1] = {ReceiveAsleep(*server)};
    ASSERT_EQ(Text(request[0].buffer), std::to_string(i));
    ASSERT_EQ(server->Send(absl::MakeSpan(request)), 1u);
  }
  EXPECT_EQ(Wait(child), 0);
}

TEST_F(ShmProcessTest, ASenderThatSleepsOnAFullRingIsWokenByRoom) {
  constexpr int kMessages = 200'000;
  auto server = OpenPort(*transport_, "srv");
  const pid_t child = Fork([&] {
    config::Transport config = Config(directory_.path());
    config.mutable_shm()->set_ring_bytes(4096);
    auto transport = OpenShm(config);
    auto client = OpenPort(*transport);
    const Peer to = *client->Resolve(Address::Shm("srv"));
    Datagram none[1];
    for (int i = 0; i < kMessages; ++i) {
      Datagram burst[1] = {Message(*client, to, std::to_string(i))};
      while (client->Send(absl::MakeSpan(burst)) == 0) {
        SleepUntilWork(*client);
        client->Receive(absl::MakeSpan(none));
      }
    }
    return client->stats().send_failed == 0 ? 0 : 1;
  });
  for (int i = 0; i < kMessages; ++i) {
    ASSERT_EQ(Text(ReceiveAsleep(*server).buffer), std::to_string(i));
  }
  EXPECT_EQ(Wait(child), 0);
}

TEST_F(ShmProcessTest, ProcessesKilledAtAnyMomentAreNoticedAndCleanedUp) {
  auto server = OpenPort(*transport_, "srv");
  auto bystander = OpenPort(*transport_, "bystander");
  const Peer to = *bystander->Resolve(Address::Shm("srv"));
  std::mt19937 random(11);
  ASSERT_TRUE(SendText(*bystander, to, "hello"));
  const Peer from = ReceiveOne(*server).peer;
  const size_t descriptors = OpenDescriptors();
  for (int round = 0; round < 40; ++round) {
    const pid_t child = Fork([&] {
      auto transport = OpenShm(Config(directory_.path()));
      auto client = OpenPort(*transport);
      const Peer srv = *client->Resolve(Address::Shm("srv"));
      const std::string text(1500, static_cast<char>('a' + round % 26));
      while (true) SendText(*client, srv, text);
      return 0;
    });
    Datagram burst[32];
    const auto check = [&](size_t n) {
      for (size_t i = 0; i < n; ++i) {
        ASSERT_EQ(Text(burst[i].buffer), std::string(1500, static_cast<char>('a' + round % 26)));
      }
    };
    // Some while after it has begun to send.
    size_t n = 0;
    while ((n = server->Receive(absl::MakeSpan(burst))) == 0) {
    }
    check(n);
    const Peer victim = burst[0].peer;
    const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(random() % 3000);
    while (std::chrono::steady_clock::now() < end) check(server->Receive(absl::MakeSpan(burst)));
    kill(child, SIGKILL);
    Wait(child);
    PortEvent event[1];
    while (server->TakeEvents(absl::MakeSpan(event)) == 0) {
      check(server->Receive(absl::MakeSpan(burst)));
    }
    EXPECT_EQ(event[0].kind, PortEvent::Kind::kPeerUnreachable);
    EXPECT_EQ(event[0].error, ECONNRESET);
    EXPECT_EQ(event[0].peer, victim);
    EXPECT_TRUE(absl::IsNotFound(server->AddressOf(victim).status()));
    EXPECT_EQ(OpenDescriptors(), descriptors);
  }
  ASSERT_TRUE(SendText(*bystander, to, "unharmed"));
  const Datagram last = ReceiveOne(*server);
  EXPECT_EQ(Text(last.buffer), "unharmed");
  EXPECT_EQ(last.peer, from);
}

TEST_F(ShmProcessTest, TheDeathOfASleepersPeerWakesIt) {
  auto server = OpenPort(*transport_, "srv");
  const pid_t child = Fork([&] {
    auto transport = OpenShm(Config(directory_.path()));
    auto client = OpenPort(*transport);
    SendText(*client, *client->Resolve(Address::Shm("srv")), "hello");
    pause();
    return 0;
  });
  ReceiveAsleep(*server);
  std::thread killer([child] { kill(child, SIGKILL); });
  PortEvent event[1];
  Datagram none[1];
  while (server->TakeEvents(absl::MakeSpan(event)) == 0) {
    SleepUntilWork(*server);
    server->Receive(absl::MakeSpan(none));
  }
  EXPECT_EQ(event[0].kind, PortEvent::Kind::kPeerUnreachable);
  killer.join();
  Wait(child);
}

TEST_F(ShmProcessTest, ASocketLeftByADeadProcessIsReplaced) {
  const pid_t child = Fork([&] {
    auto transport = OpenShm(Config(directory_.path()));
    auto server = OpenPort(*transport, "srv");
    auto client = OpenPort(*transport);
    raise(SIGKILL);
    return 0;
  });
  Wait(child);
  const auto files = [&] {
    const std::filesystem::directory_iterator all(directory_.path());
    return std::distance(begin(all), end(all));
  };
  EXPECT_EQ(files(), 3);                // two sockets and the lock
  auto client = OpenPort(*transport_);  // removes the client's
  EXPECT_EQ(files(), 3);
  EXPECT_TRUE(absl::IsNotFound(client->Resolve(Address::Shm("srv")).status()));
  auto server = OpenPort(*transport_, "srv");
  EXPECT_TRUE(SendText(*client, *client->Resolve(Address::Shm("srv")), "hello"));
  EXPECT_EQ(Text(ReceiveOne(*server).buffer), "hello");
}

TEST_F(ShmProcessTest, ThousandsOfConnectionsLeaveNothingBehind) {
  auto server = OpenPort(*transport_, "srv");
  const auto once = [&] {
    auto client = OpenPort(*transport_);
    ASSERT_TRUE(SendText(*client, *client->Resolve(Address::Shm("srv")), "hello"));
    ReceiveOne(*server);
    client.reset();
    EXPECT_EQ(NextEvent(*server).kind, PortEvent::Kind::kPeerClosed);
  };
  const auto mappings = [] {
    std::ifstream maps("/proc/self/maps");
    return std::count(std::istreambuf_iterator<char>(maps), {}, '\n');
  };
  for (int i = 0; i < 10; ++i) once();
  const size_t descriptors = OpenDescriptors();
  const auto mapped = mappings();
  for (int i = 0; i < 2000; ++i) once();
  EXPECT_EQ(OpenDescriptors(), descriptors);
  EXPECT_LE(mappings(), mapped + 8);
}

TEST_F(ShmProcessTest, PeersBeyondTheLimitAreRefusedAndLearnIt) {
  config::Transport config = Config(directory_.path());
  config.mutable_shm()->set_max_peers(4);
  auto limited = OpenShm(config);
  auto server = OpenPort(*limited, "srv");
  std::vector<std::unique_ptr<DatagramPort>> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(OpenPort(*transport_));
    ASSERT_TRUE(SendText(*clients[i], *clients[i]->Resolve(Address::Shm("srv")), "hello"));
    ReceiveOne(*server);
  }
  auto fifth = OpenPort(*transport_);
  ASSERT_TRUE(fifth->Resolve(Address::Shm("srv")).ok());
  PortEvent event[1];
  Datagram none[1];
  while (fifth->TakeEvents(absl::MakeSpan(event)) == 0) {
    server->Receive(absl::MakeSpan(none));
    fifth->Receive(absl::MakeSpan(none));
  }
  EXPECT_EQ(event[0].kind, PortEvent::Kind::kPeerUnreachable);
  EXPECT_EQ(event[0].error, ENOBUFS);
  auto other = OpenPort(*transport_, "other");
  EXPECT_TRUE(absl::IsResourceExhausted(server->Resolve(Address::Shm("other")).status()));
  clients.pop_back();
  NextEvent(*server);
  EXPECT_TRUE(SendText(*fifth, *fifth->Resolve(Address::Shm("srv")), "now"));
  EXPECT_EQ(Text(ReceiveOne(*server).buffer), "now");
}

TEST_F(ShmProcessTest, APeerThatStopsReadingDoesNotHoldUpOthersForEver) {
  auto server = OpenPort(*transport_, "srv");
  auto stopped = OpenPort(*transport_);
  auto honest = OpenPort(*transport_);
  ASSERT_TRUE(SendText(*stopped, *stopped->Resolve(Address::Shm("srv")), "x"));
  const Peer deaf = ReceiveOne(*server).peer;
  ASSERT_TRUE(SendText(*honest, *honest->Resolve(Address::Shm("srv")), "x"));
  const Peer alive = ReceiveOne(*server).peer;
  while (SendText(*server, deaf, "are you there?")) {
  }
  // Behind a message that does not fit; the peer's time runs out while this tries again.
  Datagram burst[2] = {Message(*server, deaf, "are you there?"),
                       Message(*server, alive, "and you?")};
  for (size_t sent = 0; sent < 2;) sent += server->Send(absl::MakeSpan(burst).subspan(sent));
  EXPECT_EQ(Text(ReceiveOne(*honest).buffer), "and you?");
  EXPECT_EQ(server->stats().send_failed, 1u);
  const PortEvent event = NextEvent(*server);
  EXPECT_EQ(event.peer, deaf);
  EXPECT_EQ(event.error, ETIMEDOUT);
  // It wakes up, and is served again.
  Datagram old[64];
  while (stopped->Receive(absl::MakeSpan(old)) > 0) {
  }
  EXPECT_TRUE(SendText(*server, deaf, "welcome back"));
  EXPECT_EQ(Text(ReceiveOne(*stopped).buffer), "welcome back");
}

TEST_F(ShmProcessTest, QueuesOfOneAddressShareItsPeers) {
  std::vector<std::unique_ptr<DatagramPort>> queues;
  for (int i = 0; i < 2; ++i) {
    PortOptions options = {.local = Address::Shm("srv"), .queue = i, .queues = 2};
    auto port = transport_->OpenDatagramPort(options);
    ASSERT_TRUE(port.ok()) << port.status();
    queues.push_back(*std::move(port));
  }
  EXPECT_TRUE(absl::IsAlreadyExists(
      transport_->OpenDatagramPort({.local = Address::Shm("srv"), .queue = 1, .queues = 2})
          .status()));
  std::vector<std::unique_ptr<DatagramPort>> clients;
  int received[2] = {};
  for (int i = 0; i < 10; ++i) {
    clients.push_back(OpenPort(*transport_));
    ASSERT_TRUE(SendText(*clients[i], *clients[i]->Resolve(Address::Shm("srv")), "hello"));
    Datagram burst[1];
    for (int q = 0;; q = 1 - q) {
      if (queues[q]->Receive(absl::MakeSpan(burst)) == 0) continue;
      ++received[q];
      break;
    }
  }
  EXPECT_GE(received[0], 2);
  EXPECT_GE(received[1], 2);
}

TEST_F(ShmProcessTest, PermissionsDecideWhoMayConnect) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to become somebody else";
  ASSERT_EQ(chmod(directory_.path().c_str(), 0755), 0);
  auto server = OpenPort(*transport_, "private");
  config::Transport open_to_all = Config(directory_.path());
  open_to_all.mutable_shm()->set_mode("0666");
  auto open_transport = OpenShm(open_to_all);
  auto public_server = OpenPort(*open_transport, "public");
  const pid_t child = Fork([&] {
    if (seteuid(65534) != 0) return 1;
    auto transport = OpenShm(Config(directory_.path()));
    if (!absl::IsPermissionDenied(
            transport->OpenDatagramPort({.local = Address::Shm("mine")}).status())) {
      return 2;
    }
    auto client = OpenPort(*transport);
    if (!absl::IsPermissionDenied(client->Resolve(Address::Shm("private")).status())) return 3;
    auto to = client->Resolve(Address::Shm("public"));
    if (!to.ok() || !SendText(*client, *to, "hello")) return 4;
    return Text(ReceiveOne(*client).buffer) == "hello" ? 0 : 5;
  });
  Datagram request[1] = {ReceiveOne(*public_server)};
  // A stranger's word for its name is not taken: this would be a connection of our own.
  EXPECT_FALSE(public_server->Resolve(*public_server->AddressOf(request[0].peer)).ok());
  EXPECT_EQ(public_server->Send(absl::MakeSpan(request)), 1u);
  EXPECT_EQ(Wait(child), 0);
}

TEST_F(ShmProcessTest, ADirectoryOthersMayWriteToIsRefused) {
  ASSERT_EQ(chmod(directory_.path().c_str(), 0777), 0);
  const auto named = transport_->OpenDatagramPort({.local = Address::Shm("srv")});
  EXPECT_TRUE(absl::IsPermissionDenied(named.status()));
  EXPECT_NE(named.status().message().find("chmod go-w"), absl::string_view::npos);
  EXPECT_TRUE(absl::IsPermissionDenied(transport_->OpenDatagramPort({}).status()));
}

TEST_F(ShmProcessTest, APathTooLongForASocketIsAClearError) {
  auto transport = OpenShm(Config(directory_.path() + "/" + std::string(100, 'd')));
  const auto port = transport->OpenDatagramPort({.local = Address::Shm("srv")});
  EXPECT_TRUE(absl::IsInvalidArgument(port.status())) << port.status();
}

TEST_F(ShmProcessTest, TheDeathOfAStreamsPeerResetsIt) {
  auto server = *transport_->OpenStreamPort({});
  ASSERT_TRUE(server->Listen(Address::Shm("srv"), 4).ok());
  const pid_t child = Fork([&] {
    auto transport = OpenShm(Config(directory_.path()));
    auto client = *transport->OpenStreamPort({});
    const StreamId stream = *client->Connect(Address::Shm("srv"));
    StreamEvent events[4];
    while (true) {
      client->Poll(absl::MakeSpan(events));
      const auto room = client->Reserve(stream, 1000);
      client->Commit(stream, room.size());
      SleepUntilWork(*client);
    }
    return 0;
  });
  StreamEvent event[1];
  bool killed = false;
  while (true) {
    if (server->Poll(absl::MakeSpan(event)) == 0) {
      SleepUntilWork(*server);
      continue;
    }
    if (event[0].kind == StreamEvent::Kind::kClosed) break;
    if (event[0].kind == StreamEvent::Kind::kReadable && !std::exchange(killed, true)) {
      kill(child, SIGKILL);
    }
  }
  EXPECT_EQ(event[0].error, ECONNRESET);
  Wait(child);
}

}  // namespace
}  // namespace weft::shm
