// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/linux/linux_datagram_port.h"

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "weft/transports/linux/linux_test_util.h"

namespace weft::linux_transport {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::Test;
using ::testing::WithParamInterface;

// Everything holds over IPv4 and IPv6, with and without segmentation in the kernel.
struct Variant {
  std::string name;
  std::string any_port;
  std::string settings;
};

std::vector<Variant> Variants() {
  std::vector<Variant> all;
  for (const auto& [family, address] : {std::pair{"Ipv4", "127.0.0.1:0"}, {"Ipv6", "[::1]:0"}}) {
    for (const char* gso : {"true", "false"}) {
      for (const char* gro : {"true", "false"}) {
        all.push_back(
            {std::string(family) + (gso[0] == 't' ? "Gso" : "") + (gro[0] == 't' ? "Gro" : ""),
             address, std::string("linux { gso: ") + gso + " gro: " + gro + " }"});
      }
    }
  }
  return all;
}

// Makes messages pile up at `port`, from when on it lets the kernel coalesce them.
void PileUp(DatagramPort& port) {
  constexpr size_t kMessages = 64;
  std::vector<std::string> texts;  // growing, so that each is sent by itself
  for (size_t i = 0; i < kMessages; ++i) texts.push_back(std::string(i, 'x'));
  SendAll(port, port.Resolve(port.local_address()).value(), texts);
  EXPECT_THAT(ReceiveTexts(port, kMessages), ElementsAreArray(texts));
}

class LinuxDatagramPortTest : public Test, public WithParamInterface<Variant> {
 protected:
  std::unique_ptr<DatagramPort> Open(int queue = 0, int queues = 1) {
    auto port = OpenAt(*transport_, GetParam().any_port, queue, queues);
    if (queues == 1) PileUp(*port);
    return port;
  }

  std::unique_ptr<Transport> transport_ = OpenLinux(GetParam().settings);
};

INSTANTIATE_TEST_SUITE_P(, LinuxDatagramPortTest, testing::ValuesIn(Variants()),
                         [](const auto& info) { return info.param.name; });

std::string Pattern(size_t size, int seed) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>(seed * 31 + i * 7 + (i >> 8));
  return text;
}

TEST_P(LinuxDatagramPortTest, BurstsOfAllShapesArriveWholeAndInOrder) {
  const auto a = Open();
  const auto b = Open();
  const Peer to_b = a->Resolve(b->local_address()).value();
  const std::vector<std::vector<size_t>> shapes = {
      {64},
      {0},
      {0, 0, 0},
      std::vector<size_t>(32, 64),
      std::vector<size_t>(200, 64),         // more than one GSO message
      std::vector<size_t>(100, 1472),       // limited by the bytes of one
      {64, 64, 64, 10, 64, 64, 0, 64, 64},  // a shorter one ends a run
      {10, 20, 30, 40, 50, 50, 60},         // a longer one begins another
      {1, 1, 1, 1000, 1000, 7, 7, 7, 1, 1920},
      std::vector<size_t>(64, 1),
  };
  for (const std::vector<size_t>& shape : shapes) {
    std::vector<std::string> texts;
    for (size_t size : shape) texts.push_back(Pattern(size, static_cast<int>(texts.size())));
    SendAll(*a, to_b, texts);
    EXPECT_THAT(ReceiveTexts(*b, texts.size(), shape.size() % 2 == 0 ? 32 : 5),
                ElementsAreArray(texts));
  }
  EXPECT_EQ(a->stats().sent, b->stats().received);
  EXPECT_EQ(a->stats().sent_bytes, b->stats().received_bytes);
  EXPECT_EQ(a->stats().send_failed + b->stats().receive_dropped, 0u);
}

TEST_P(LinuxDatagramPortTest, OneBurstReachesSeveralPeers) {
  const auto a = Open();
  std::vector<std::unique_ptr<DatagramPort>> others;
  std::vector<Datagram> burst;
  for (int i = 0; i < 40; ++i) others.push_back(Open());
  std::vector<std::vector<std::string>> sent(others.size());
  for (int i = 0; i < 120; ++i) {
    const size_t to = (i / 3 * 7) % others.size();  // three in a row to each
    sent[to].push_back("message " + std::to_string(i));
    burst.push_back(Message(*a, a->Resolve(others[to]->local_address()).value(), sent[to].back()));
  }
  ASSERT_EQ(a->Send(absl::MakeSpan(burst)), burst.size());
  for (const Datagram& datagram : burst) EXPECT_FALSE(datagram.buffer);
  for (size_t i = 0; i < others.size(); ++i) {
    EXPECT_THAT(ReceiveTexts(*others[i], sent[i].size()), ElementsAreArray(sent[i]));
  }
}

TEST_P(LinuxDatagramPortTest, SenderIsThePeerThatResolveGives) {
  const auto a = Open();
  const auto b = Open();
  SendAll(*a, a->Resolve(b->local_address()).value(), {"hello"});
  const std::vector<Received> received = ReceiveAll(*b, 1);
  ASSERT_EQ(received.size(), 1u);
  EXPECT_EQ(received[0].peer, b->Resolve(a->local_address()).value());
  EXPECT_EQ(b->AddressOf(received[0].peer).value(), a->local_address());
  SendAll(*b, received[0].peer, {"and", "back"});
  EXPECT_THAT(ReceiveTexts(*a, 2), ElementsAreArray({"and", "back"}));
}

TEST_P(LinuxDatagramPortTest, LongestMessageArrivesAndLongerIsDropped) {
  const auto transport = OpenLinux(GetParam().settings + " buffers { count: 64 bytes: 131072 }");
  const auto a = OpenAt(*transport, GetParam().any_port);
  const auto b = OpenAt(*transport, GetParam().any_port);
  PileUp(*b);
  const size_t max = a->capabilities().max_payload_bytes;
  EXPECT_EQ(max, 65507u);
  EXPECT_EQ(transport->capabilities().max_payload_bytes, max);
  const Peer to_b = a->Resolve(b->local_address()).value();
  SendAll(*a, to_b, {Pattern(max + 1, 0), Pattern(max, 1), Pattern(max, 2), Pattern(max + 1, 3)});
  EXPECT_EQ(a->stats().send_failed, 2u);
  EXPECT_THAT(ReceiveTexts(*b, 2), ElementsAreArray({Pattern(max, 1), Pattern(max, 2)}));
}

TEST_P(LinuxDatagramPortTest, MessageLongerThanBuffersIsDroppedAndCounted) {
  const auto big = OpenLinux(GetParam().settings + " buffers { count: 64 bytes: 65536 }");
  const auto a = OpenAt(*big, GetParam().any_port);
  const auto b = Open();
  const size_t max = b->capabilities().max_payload_bytes;
  EXPECT_EQ(max, b->pool().payload_bytes());
  SendAll(*a, a->Resolve(b->local_address()).value(),
          {Pattern(max + 1, 0), Pattern(max + 1, 0), Pattern(max, 1), Pattern(60000, 2), "end"});
  EXPECT_THAT(ReceiveTexts(*b, 2), ElementsAreArray({Pattern(max, 1), std::string("end")}));
  EXPECT_EQ(b->stats().receive_dropped, 3u);
}

TEST_P(LinuxDatagramPortTest, RefusalIsAnEventOfThatPeerAndCostsNoOtherMessage) {
  const auto a = Open();
  const auto b = Open();
  const Peer to_b = a->Resolve(b->local_address()).value();
  Peer to_nobody;
  {
    const auto gone = Open();
    to_nobody = a->Resolve(gone->local_address()).value();
  }
  for (int round = 0; round < 20; ++round) {
    SendAll(*a, to_nobody, {"x", "y"});
    SendAll(*a, to_b, {"one"});
    SendAll(*a, to_b, {"two", "three"});
  }
  EXPECT_EQ(ReceiveAll(*b, 60).size(), 60u);
  EXPECT_EQ(a->stats().send_failed, 0u);
  const PortEvent event = NextEvent(*a);
  EXPECT_EQ(event.kind, PortEvent::Kind::kPeerUnreachable);
  EXPECT_EQ(event.peer, to_nobody);
  EXPECT_EQ(event.error, ECONNREFUSED);
  // The socket has calmed down: it would otherwise keep a sleeping loop awake.
  Datagram none;
  for (int i = 0; i < 10; ++i) EXPECT_EQ(a->Receive({&none, 1}), 0u);
  pollfd readable = {a->wait_fd(), POLLIN, 0};
  EXPECT_EQ(poll(&readable, 1, 0), 0);
}

TEST_P(LinuxDatagramPortTest, ALoopDoesNotSleepOverAnEventThatNobodyHasSeen) {
  const auto a = Open();
  Peer to_nobody;
  {
    const auto gone = Open();
    to_nobody = a->Resolve(gone->local_address()).value();
  }
  SendAll(*a, to_nobody, {"x"});
  Datagram none;
  while (!a->has_events()) {
    ASSERT_TRUE(WaitFor(*a));
    EXPECT_EQ(a->Receive({&none, 1}), 0u);
  }
  EXPECT_FALSE(a->Arm());
  EXPECT_TRUE(a->Arm()) << "who takes no events can sleep all the same";
}

TEST_P(LinuxDatagramPortTest, EachPeerStaysWithOneQueue) {
  const auto first = Open(0, 2);
  const auto second = OpenAt(*transport_, first->local_address().ToString(), 1, 2);
  EXPECT_EQ(first->local_address(), second->local_address());
  std::map<uint16_t, std::set<int>> queues_of;
  std::vector<std::unique_ptr<DatagramPort>> clients;
  for (int i = 0; i < 40; ++i) clients.push_back(Open());
  for (int round = 0; round < 5; ++round) {
    for (const auto& client : clients) {
      SendAll(*client, client->Resolve(first->local_address()).value(), {"a", "b"});
    }
  }
  size_t total = 0;
  std::set<int> used;
  while (total < 5 * 2 * clients.size()) {
    for (int queue : {0, 1}) {
      DatagramPort& port = queue == 0 ? *first : *second;
      std::vector<Datagram> burst(8);
      const size_t n = port.Receive(absl::MakeSpan(burst));
      for (size_t i = 0; i < n; ++i) {
        queues_of[port.AddressOf(burst[i].peer).value().port()].insert(queue);
        used.insert(queue);
      }
      total += n;
    }
  }
  for (const auto& [port, queues] : queues_of) EXPECT_EQ(queues.size(), 1u) << port;
  EXPECT_EQ(used.size(), 2u);
}

TEST_P(LinuxDatagramPortTest, EmptyPoolDropsAndRecovers) {
  const auto transport = OpenLinux(GetParam().settings + " buffers { count: 64 bytes: 2048 }");
  const auto a = Open();
  const auto b = OpenAt(*transport, GetParam().any_port);
  PileUp(*b);
  const Peer to_b = a->Resolve(b->local_address()).value();
  std::vector<Buffer> hoard;
  while (Buffer buffer = b->pool().Allocate()) hoard.push_back(std::move(buffer));
  SendAll(*a, to_b, std::vector<std::string>(10, "lost"));
  SendAll(*a, to_b, {"lost too"});
  while (b->stats().receive_dropped < 11) {
    Datagram none;
    ASSERT_EQ(b->Receive({&none, 1}), 0u);
  }
  hoard.clear();
  SendAll(*a, to_b, std::vector<std::string>(30, "kept"));
  EXPECT_THAT(ReceiveTexts(*b, 30), ElementsAreArray(std::vector<std::string>(30, "kept")));
  EXPECT_EQ(b->stats().receive_dropped, 11u);
}

TEST_P(LinuxDatagramPortTest, LeftoversOfACoalescedMessageKeepTheLoopAwake) {
  const auto a = Open();
  const auto b = Open();
  SendAll(*a, a->Resolve(b->local_address()).value(), std::vector<std::string>(20, "abc"));
  ASSERT_TRUE(WaitFor(*b));
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(!b->Arm() ||
                poll(std::vector<pollfd>{{b->wait_fd(), POLLIN, 0}}.data(), 1, kPatienceMs) == 1);
    EXPECT_EQ(ReceiveTexts(*b, 1, 1).size(), 1u);
  }
  EXPECT_TRUE(b->Arm());
}

TEST_P(LinuxDatagramPortTest, PlainSocketsSeeExactlyTheBytes) {
  const auto port = Open();
  absl::StatusOr<UniqueFd> plain = OpenBoundSocket(SOCK_DGRAM, At(GetParam().any_port), false);
  ASSERT_TRUE(plain.ok());
  const Address plain_address = ToAddress(BoundAddress(*plain).value());
  std::vector<std::string> texts(12, Pattern(100, 1));
  texts.push_back(Pattern(30, 2));
  SendAll(*port, port->Resolve(plain_address).value(), texts);
  for (const std::string& text : texts) {
    pollfd readable = {plain->get(), POLLIN, 0};
    ASSERT_EQ(poll(&readable, 1, kPatienceMs), 1);
    char bytes[4096];
    SocketAddress from;
    const ssize_t n = recvfrom(plain->get(), bytes, sizeof(bytes), 0, &from.any, &from.length);
    EXPECT_EQ(std::string(bytes, n), text);
    EXPECT_EQ(ToAddress(from), port->local_address());
  }
  const SocketAddress to = ToSocketAddress(port->local_address());
  for (const std::string& text : texts) {
    ASSERT_EQ(sendto(plain->get(), text.data(), text.size(), 0, &to.any, to.length), text.size());
  }
  EXPECT_THAT(ReceiveTexts(*port, texts.size()), ElementsAreArray(texts));
}

TEST_P(LinuxDatagramPortTest, UnknownPeersAreDroppedAndDoNotBlock) {
  const auto a = Open();
  const auto b = Open();
  std::vector<Datagram> burst;
  burst.push_back(Message(*a, Peer(), "to nobody"));
  burst.push_back(Message(*a, a->Resolve(b->local_address()).value(), "kept"));
  burst.push_back(Message(*a, Peer(), "to nobody"));
  burst.push_back({a->Resolve(b->local_address()).value(), Buffer()});
  EXPECT_EQ(a->Send(absl::MakeSpan(burst)), 4u);
  EXPECT_EQ(a->stats().send_failed, 3u);
  EXPECT_THAT(ReceiveTexts(*b, 1), ElementsAreArray({"kept"}));
}

TEST(LinuxDatagramPort, OnlyWhatTheKernelHasCoalescedIsCopied) {
  const auto transport = OpenLinux();
  const auto a = OpenAt(*transport, "127.0.0.1:0");
  const auto b = OpenAt(*transport, "127.0.0.1:0");
  const Peer to_b = a->Resolve(b->local_address()).value();
  for (bool piled_up : {false, true}) {
    if (piled_up) PileUp(*b);
    for (int i = 0; i < 10; ++i) {
      SendAll(*a, to_b, {"x"});
      EXPECT_EQ(ReceiveAll(*b, 1).size(), 1u);
    }
    EXPECT_EQ(a->stats().copied_buffers + b->stats().copied_buffers, 0u);
  }
  SendAll(*a, to_b, std::vector<std::string>(4, "abc"));
  EXPECT_EQ(ReceiveAll(*b, 4).size(), 4u);
  // None where the kernel has no UDP_GRO.
  EXPECT_THAT(b->stats().copied_buffers, testing::AnyOf(0u, 4u));
  EXPECT_EQ(b->stats().copied_bytes, 3 * b->stats().copied_buffers);
}

// Those of a large message come into buffers of their own; whatever comes instead arrives as well.
TEST(LinuxDatagramPort, JoinedMessagesOfOneSizeAreNotCopied) {
  for (const size_t at_once : {1, 7, 64}) {
    const auto transport = OpenLinux();
    const auto a = OpenAt(*transport, "127.0.0.1:0");
    const auto b = OpenAt(*transport, "127.0.0.1:0");
    const Peer to_b = a->Resolve(b->local_address()).value();
    PileUp(*b);
    const auto exchange = [&](size_t n, size_t bytes) {
      std::vector<std::string> texts;
      for (size_t i = 0; i < n; ++i) texts.emplace_back(bytes, static_cast<char>('0' + i));
      texts.back().resize((bytes + 1) / 2);  // a last one that is shorter
      SendAll(*a, to_b, texts);
      const uint64_t before = b->stats().copied_buffers;
      EXPECT_EQ(ReceiveTexts(*b, n, at_once), texts) << n << " of " << bytes;
      return b->stats().copied_buffers - before;
    };
    exchange(40, 1400);
    EXPECT_EQ(exchange(40, 1400), 0u);
    EXPECT_EQ(exchange(1, 10), 0u);
    EXPECT_EQ(exchange(40, 1400), 0u);
    exchange(1, 3000);  // half of it: longer than a segment
    for (const size_t bytes : {1400, 1400, 700, 700, 1900, 20, 20, 1400, 512, 511}) {
      exchange(30, bytes);
    }
  }
}

TEST(LinuxDatagramPort, AClientWithoutAnAddressReachesBothFamilies) {
  const auto transport = OpenLinux();
  const auto client = ValueOrDie(transport->OpenDatagramPort({}));
  for (const char* address : {"127.0.0.1:0", "[::1]:0"}) {
    const auto server = OpenAt(*transport, address);
    const Peer peer = client->Resolve(server->local_address()).value();
    EXPECT_EQ(client->AddressOf(peer).value(), server->local_address());
    SendAll(*client, peer, {"a", "b", "c"});
    const std::vector<Received> received = ReceiveAll(*server, 3);
    ASSERT_EQ(received.size(), 3u);
    EXPECT_EQ(server->AddressOf(received[0].peer).value().port(), client->local_address().port());
    SendAll(*server, received[0].peer, {"d", "e"});
    const std::vector<Received> replies = ReceiveAll(*client, 2);
    ASSERT_EQ(replies.size(), 2u);
    EXPECT_EQ(replies[0].peer, peer);
  }
}

TEST(LinuxDatagramPort, TheEventSaysWhyTheKernelRefusedToSend) {
  auto transport = OpenLinux();
  const auto port = OpenAt(*transport, "127.0.0.1:0");
  const Peer broadcast = port->Resolve(At("255.255.255.255:9")).value();
  for (const size_t messages : {1, 2}) {  // two go another way than one
    SendAll(*port, broadcast, std::vector<std::string>(messages, "hello"));
    PortEvent event;
    ASSERT_EQ(port->TakeEvents({&event, 1}), 1u);
    EXPECT_EQ(event.peer, broadcast);
    EXPECT_EQ(event.error, EACCES);  // it takes SO_BROADCAST
  }
  EXPECT_EQ(port->stats().send_failed, 3u);
}

TEST(LinuxDatagramPort, RefusesWhatCannotWorkAndSaysWhy) {
  const auto transport = OpenLinux();
  const auto port = OpenAt(*transport, "127.0.0.1:0");
  EXPECT_THAT(std::string(port->Resolve(At("shm:x")).status().message()), HasSubstr("not shm:x"));
  EXPECT_THAT(std::string(port->Resolve(At("[::1]:5")).status().message()),
              HasSubstr("which is IPv4"));
  EXPECT_THAT(std::string(port->Resolve(At("127.0.0.1:0")).status().message()),
              HasSubstr("port 0"));
  EXPECT_FALSE(port->AddressOf(Peer()).ok());

  const auto again = transport->OpenDatagramPort({.local = port->local_address()});
  EXPECT_TRUE(absl::IsAlreadyExists(again.status())) << again.status();
  EXPECT_TRUE(
      absl::IsInvalidArgument(transport->OpenDatagramPort({.local = At("sim:x")}).status()));
  const auto foreign = transport->OpenDatagramPort({.local = At("192.0.2.77:0")});
  EXPECT_TRUE(absl::IsInvalidArgument(foreign.status())) << foreign.status();
  EXPECT_THAT(std::string(foreign.status().message()), HasSubstr("192.0.2.77:0"));

  const auto single = OpenLinux("linux { reuse_port: false }");
  const auto queues =
      single->OpenDatagramPort({.local = At("127.0.0.1:0"), .queue = 0, .queues = 2});
  EXPECT_THAT(std::string(queues.status().message()), HasSubstr("reuse_port"));
  EXPECT_FALSE(transport->OpenDatagramPort({.local = {}, .queue = 2, .queues = 2}).ok());
}

// As a process without the capability: this one may have it.
TEST(LinuxForeignSourceTest, NeedsACapability) {
  const auto transport = OpenLinux("linux { foreign_source: true }");
  EXPECT_TRUE(transport->capabilities().keeps_foreign_source);
  EXPECT_FALSE(OpenLinux()->capabilities().keeps_foreign_source);
  std::thread([&] {  // capabilities are those of a thread
    __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    __user_cap_data_struct none[2] = {};
    ASSERT_EQ(syscall(SYS_capset, &header, none), 0);
    const absl::Status status = transport->OpenDatagramPort({}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
    EXPECT_THAT(status.message(), HasSubstr("setcap cap_net_raw+ep PROGRAM"));
    EXPECT_THAT(status.message(), HasSubstr("foreign_source: true"));
  })
      .join();
}

// An odd length in front of the tail turns its sum around.
TEST(LinuxForeignSourceTest, ChecksumsCoverTails) {
  const auto transport = OpenLinux("linux { foreign_source: true }");
  for (const char* any : {"127.0.0.1:0", "[::1]:0"}) {
    const auto router = transport->OpenDatagramPort({.local = At(any)});
    if (!router.ok()) GTEST_SKIP() << router.status();
    const auto client = OpenAt(*transport, any);
    const auto server = OpenAt(*transport, any);
    const Peer to = (*router)->Resolve(server->local_address()).value();
    const Peer source = (*router)->Resolve(client->local_address()).value();
    for (const size_t head : {0u, 1u, 2u, 7u, 64u}) {
      for (const size_t tail : {0u, 1u, 2u, 5u, 1000u}) {
        const std::string front(head, 'h');
        const std::string behind(tail, 't');
        Datagram out[] = {Message(**router, to, front)};
        out[0].tail = {reinterpret_cast<const uint8_t*>(behind.data()), tail};
        ASSERT_EQ((*router)->Forward(absl::MakeSpan(out), {&source, 1}), 1u);
        EXPECT_TRUE(out[0].tail.empty());
        const std::vector<Received> received = ReceiveAll(*server, 1);
        ASSERT_EQ(received.size(), 1u) << head << " and " << tail;
        EXPECT_EQ(received[0].text, front + behind);
        EXPECT_EQ(server->AddressOf(received[0].peer).value(), client->local_address());
      }
    }
    EXPECT_EQ((*router)->stats().send_failed, 0u);
  }
}

// What the kernel has joined goes on in the pieces that it was sent in, and one that is too long
// does not take those behind it along.
TEST(LinuxForeignSourceTest, JoinedDatagramsGoOnApart) {
  const auto transport = OpenLinux("linux { foreign_source: true } buffers { bytes: 2048 }");
  const auto router = transport->OpenDatagramPort({.local = At("127.0.0.1:0")});
  if (!router.ok()) GTEST_SKIP() << router.status();
  const auto client = OpenAt(*transport, "127.0.0.1:0");
  const auto server = OpenAt(*transport, "127.0.0.1:0");
  const Peer to = (*router)->Resolve(server->local_address()).value();
  std::vector<std::string> texts;
  for (int i = 0; i < 200; ++i) {
    texts.push_back(std::string(i % 7 == 6 ? 300 : 1200, static_cast<char>(i)));
  }
  const Peer there = client->Resolve((*router)->local_address()).value();
  // Some rounds, so that the router has seen enough at a time to have the kernel join.
  for (int round = 0; round < 3; ++round) {
    SendAll(*client, there, texts);
    std::vector<Datagram> burst(texts.size());
    size_t n = 0;
    while (n < texts.size()) {
      const size_t got = (*router)->Receive(absl::MakeSpan(burst).subspan(n));
      if (got == 0) {
        ASSERT_TRUE(WaitFor(**router));
      }
      n += got;
    }
    std::vector<Peer> sources;
    for (Datagram& datagram : burst) sources.push_back(std::exchange(datagram.peer, to));
    for (size_t done = 0; done < n;) {
      done += (*router)->Forward(absl::MakeSpan(burst).subspan(done),
                                 absl::MakeSpan(sources).subspan(done));
    }
    ASSERT_EQ(ReceiveTexts(*server, texts.size()), texts);
  }
  EXPECT_GT((*router)->stats().copied_buffers, 0u) << "nothing was joined";
  EXPECT_EQ((*router)->stats().send_failed, 0u);
}

}  // namespace
}  // namespace weft::linux_transport
