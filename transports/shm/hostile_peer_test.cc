// SPDX-License-Identifier: Apache-2.0
//
// Peers that do what no honest one does: with the handshake, the socket and the memory.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "weft/transports/shm/record_ring.h"
#include "weft/transports/shm/session.h"
#include "weft/transports/shm/shared_memory.h"
#include "weft/transports/shm/test_util.h"

namespace weft::shm {
namespace {

class HostilePeerTest : public ::testing::Test {
 protected:
  std::string SocketPath() const { return directory_.path() + "/srv.datagrams"; }

  UniqueFd ConnectSocket() {
    UniqueFd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
    std::strcpy(address.sun_path, SocketPath().c_str());
    if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) fd.Reset();
    return fd;
  }

  Hello GoodHello() const {
    Hello hello = {Hello::kMagic, Hello::kVersion, Contract::kDatagrams, 0, ring_bytes_, 3, "bad"};
    return hello;
  }

  static void SendWithFds(int socket, const void* data, size_t size, const std::vector<int>& fds) {
    iovec iov = {const_cast<void*>(data), size};
    alignas(cmsghdr) char space[CMSG_SPACE(64 * sizeof(int))] = {};
    msghdr message = {};
    message.msg_iov = &iov;
    message.msg_iovlen = 1;
    if (!fds.empty()) {
      message.msg_control = space;
      message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
      cmsghdr* rights = CMSG_FIRSTHDR(&message);
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
      std::memcpy(CMSG_DATA(rights), fds.data(), fds.size() * sizeof(int));
    }
    EXPECT_GE(sendmsg(socket, &message, MSG_NOSIGNAL), 0);
  }

  UniqueFd Memory(size_t bytes, int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) {
    UniqueFd fd(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    EXPECT_EQ(ftruncate(fd.get(), static_cast<off_t>(bytes)), 0);
    EXPECT_EQ(fcntl(fd.get(), F_ADD_SEALS, seals), 0);
    return fd;
  }

  // Lets the server look at its sockets until this connection has been answered or ended.
  Notice AnswerTo(int socket) {
    while (true) {
      Datagram burst[8];
      server_->Receive(absl::MakeSpan(burst));
      Notice notice = {};
      switch (ReceiveNotice(socket, &notice)) {
        case Received::kNothing:
          continue;
        case Received::kNotice:
          return notice;
        default:
          return {};
      }
    }
  }

  int RefusalOf(const Hello& hello, size_t size, const std::vector<int>& fds) {
    const UniqueFd socket = ConnectSocket();
    SendWithFds(socket.get(), &hello, size, fds);
    const Notice notice = AnswerTo(socket.get());
    EXPECT_EQ(notice.kind, Notice::Kind::kRefused);
    return notice.error;
  }

  void ExpectServes() {
    auto client = OpenPort(*transport_);
    const auto to = client->Resolve(Address::Shm("srv"));
    ASSERT_TRUE(to.ok()) << to.status();
    ASSERT_TRUE(SendText(*client, *to, "still there?"));
    EXPECT_EQ(Text(ReceiveOne(*server_).buffer), "still there?");
  }

  size_t full_bytes() const { return kControlBytes + 2 * size_t{ring_bytes_}; }

  TempDirectory directory_;
  std::unique_ptr<Transport> transport_ = OpenShm(Config(directory_.path()));
  std::unique_ptr<DatagramPort> server_ = OpenPort(*transport_, "srv");
  const uint32_t ring_bytes_ = 65536;
};

TEST_F(HostilePeerTest, BadHandshakesAreRefusedWithAReason) {
  const UniqueFd memory = Memory(full_bytes());
  const std::vector<int> fd = {memory.get()};
  Hello hello = GoodHello();
  EXPECT_EQ(RefusalOf(hello, 10, fd), EPROTO) << "short";
  EXPECT_EQ(RefusalOf(hello, sizeof(hello), {}), EPROTO) << "no memory";
  hello.magic = 1;
  EXPECT_EQ(RefusalOf(hello, sizeof(hello), fd), EPROTO);
  hello = GoodHello();
  hello.version = 2;
  EXPECT_EQ(RefusalOf(hello, sizeof(hello), fd), EPROTONOSUPPORT);
  hello = GoodHello();
  hello.contract = Contract::kStreams;
  EXPECT_EQ(RefusalOf(hello, sizeof(hello), fd), EPROTO);
  for (const uint8_t name_size : {0, 65, 255}) {
    hello = GoodHello();
    hello.name_size = name_size;
    EXPECT_EQ(RefusalOf(hello, sizeof(hello), fd), EPROTO);
  }
  hello = GoodHello();
  hello.name[1] = '/';
  EXPECT_EQ(RefusalOf(hello, sizeof(hello), fd), EPROTO);
  for (const uint32_t ring_bytes : {0u, 2048u, 65535u, 0xffffffffu}) {
    hello = GoodHello();
    hello.ring_bytes = ring_bytes;
    EXPECT_EQ(RefusalOf(hello, sizeof(hello), fd), EPROTO);
  }
  hello = GoodHello();
  hello.ring_bytes = 1 << 30;
  EXPECT_EQ(RefusalOf(hello, sizeof(hello), fd), EMSGSIZE);
  ExpectServes();
}

TEST_F(HostilePeerTest, MemoryThatCouldGoAwayIsRefused) {
  const Hello hello = GoodHello();
  for (const int seals :
       {0, F_SEAL_SEAL, F_SEAL_SHRINK | F_SEAL_GROW, F_SEAL_SHRINK | F_SEAL_SEAL}) {
    EXPECT_EQ(RefusalOf(hello, sizeof(hello), {Memory(full_bytes(), seals).get()}), EPROTO)
        << seals;
  }
  EXPECT_EQ(RefusalOf(hello, sizeof(hello), {Memory(full_bytes() - 4096).get()}), EPROTO);
  EXPECT_EQ(RefusalOf(hello, sizeof(hello), {Memory(full_bytes() + 4096).get()}), EPROTO);
  const UniqueFd file(open(directory_.path().c_str(), O_TMPFILE | O_RDWR, 0600));
  EXPECT_EQ(ftruncate(file.get(), static_cast<off_t>(full_bytes())), 0);
  EXPECT_EQ(RefusalOf(hello, sizeof(hello), {file.get()}), EPROTO);
  ExpectServes();
}

TEST_F(HostilePeerTest, WhatWasHandedOverCannotBeCutOff) {
  UniqueFd memfd;
  auto memory = SharedMemory::Create(ring_bytes_, &memfd);
  ASSERT_TRUE(memory.ok());
  EXPECT_NE(ftruncate(memfd.get(), 0), 0);
  EXPECT_EQ(errno, EPERM);
  EXPECT_NE(fcntl(memfd.get(), F_ADD_SEALS, F_SEAL_WRITE), 0);
  // A hole may be punched; it reads as zeros.
  EXPECT_EQ(fallocate(memfd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 8192), 0);
  EXPECT_EQ(memory->their_ring()[0], 0);
}

TEST_F(HostilePeerTest, GarbageAndSilenceDoNotPileUp) {
  std::mt19937 random(5);
  const size_t fds_before = OpenDescriptors();
  {
    std::vector<UniqueFd> sockets;
    for (int i = 0; i < 100; ++i) {
      sockets.push_back(ConnectSocket());
      ASSERT_TRUE(sockets.back());
      if (i % 2 == 0) continue;  // says nothing
      std::vector<uint8_t> garbage(random() % 5000);
      for (uint8_t& byte : garbage) byte = static_cast<uint8_t>(random());
      SendWithFds(sockets.back().get(), garbage.data(), garbage.size(),
                  std::vector<int>(random() % 50, sockets.back().get()));
      ExpectServes();
    }
    EXPECT_LE(OpenDescriptors(), fds_before + 100 + 40);
  }
  ExpectServes();
}

TEST_F(HostilePeerTest, NonsenseOnTheSocketEndsTheSession) {
  const UniqueFd socket = ConnectSocket();
  const Hello hello = GoodHello();
  SendWithFds(socket.get(), &hello, sizeof(hello), {Memory(full_bytes()).get()});
  EXPECT_EQ(AnswerTo(socket.get()).kind, Notice::Kind::kWelcome);
  send(socket.get(), "nonsense that is longer", 23, 0);
  const PortEvent event = NextEvent(*server_);
  EXPECT_EQ(event.kind, PortEvent::Kind::kPeerUnreachable);
  EXPECT_EQ(event.error, EPROTO);
  EXPECT_EQ(server_->stats().receive_malformed, 1u);
  ExpectServes();
}

// Writes seeded nonsense over a session's memory, some of it shaped like the truth, and connects
// again whenever it has been thrown out. Never returns.
[[noreturn]] void ScribbleForEver(const std::string& path, uint32_t ring_bytes, uint32_t seed) {
  std::mt19937 random(seed);
  while (true) {
    auto session = Connect(path, Contract::kDatagrams, "hostile", ring_bytes);
    if (!session.ok()) continue;
    uint8_t* const ring = session->memory.my_ring();
    SideControl& mine = session->memory.mine();
    SideControl& theirs = session->memory.theirs();
    for (int i = 0; i < 20'000; ++i) {
      uint32_t word = random();
      if (random() % 4 != 0) word = kRecordData | (word & 0xfff);
      if (random() % 16 == 0) word = kRecordPad;
      if (random() % 8 == 0) word = 0;
      RecordWord(ring + (random() % 64 * 16)).store(word, std::memory_order_relaxed);
      const_cast<uint8_t*>(session->memory.their_ring())[random() % ring_bytes] = 0xa5;
      if (random() % 1024 == 0) mine.consumed.store(random() % 4096);
      if (random() % 4096 == 0) mine.consumed.store(uint64_t{random()} << 32);
      if (random() % 64 == 0) theirs.consumed.store(random());
      if (random() % 64 == 0) mine.wake_on.store(random());
      if (random() % 64 == 0) theirs.wake_on.store(random());
    }
  }
}

TEST_F(HostilePeerTest, ScribblingHurtsNobodyElse) {
  std::vector<pid_t> hostile;
  for (uint32_t seed = 0; seed < 2; ++seed) {
    const pid_t pid = fork();
    if (pid == 0) ScribbleForEver(SocketPath(), ring_bytes_, seed);
    hostile.push_back(pid);
  }
  auto client = OpenPort(*transport_);
  const Peer to = *client->Resolve(Address::Shm("srv"));
  uint64_t answered = 0, thrown_out = 0;
  uint32_t number = 0;
  // For three seconds; where processors are scarce, until everybody has had his turn.
  const auto begin = std::chrono::steady_clock::now();
  const auto goes_on = [&] {
    const auto passed = std::chrono::steady_clock::now() - begin;
    return passed < std::chrono::seconds(3) ||
           (passed < std::chrono::seconds(60) &&
            (answered <= 10 || thrown_out == 0 || server_->stats().receive_malformed == 0));
  };
  ASSERT_TRUE(SendText(*client, to, std::to_string(number)));
  while (goes_on()) {
    // An echo server that answers everybody, hostile or not.
    Datagram burst[32];
    const size_t n = server_->Receive(absl::MakeSpan(burst));
    for (size_t sent = 0; sent < n;) sent += server_->Send(absl::MakeSpan(burst, n).subspan(sent));
    PortEvent events[8];
    thrown_out += server_->TakeEvents(absl::MakeSpan(events));
    Datagram reply[1];
    if (client->Receive(absl::MakeSpan(reply)) == 0) continue;
    ASSERT_EQ(reply[0].peer, to);
    ASSERT_EQ(Text(reply[0].buffer), std::to_string(number));
    ++answered;
    ASSERT_TRUE(SendText(*client, to, std::to_string(++number)));
  }
  for (const pid_t pid : hostile) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
  EXPECT_GT(answered, 10u);
  EXPECT_GT(thrown_out, 0u);
  EXPECT_GT(server_->stats().receive_malformed, 0u);
}

}  // namespace
}  // namespace weft::shm
