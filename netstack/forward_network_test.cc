// SPDX-License-Identifier: Apache-2.0
//
// Datagrams that are sent on, as the kernel's own sockets see them: a client and a server of the
// kernel, each in a network namespace of its own, and between them a router, over weft's stack on a
// packet socket and over raw sockets. Skipped where the kernel does not let us make the network.
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/netstack/netstack_transport.h"
#include "weft/netstack/stack.h"
#include "weft/tools/testnet/testnet.h"
#include "weft/transports/linux/socket.h"
#include "weft/transports/registry.h"

namespace weft::netstack {
namespace {

using linux_transport::SocketAddress;
using testnet::Namespace;

constexpr int kPatienceMs = 10'000;
constexpr int kPolls = 10'000;  // of a millisecond

// A switch with the router's end, the client's and the server's.
struct Network {
  absl::StatusOr<Namespace> client = Namespace::Make();
  absl::StatusOr<Namespace> server = Namespace::Make();
  absl::StatusOr<Namespace> router = Namespace::Make();  // the thread is in this one now
  absl::Status status = SetUp();

  static Network& Get() {
    static auto* const network = new Network;
    return *network;
  }

 private:
  absl::Status SetUp() {
    for (const auto* place : {&client, &server, &router}) {
      if (!place->ok()) return place->status();
    }
    absl::Status made =
        testnet::MakeSwitch(*router, "hub0", {"own0", "near0", "far0"}, {.ipv6 = true});
    const auto ip = [&made](const Namespace& place, const std::string& arguments) {
      if (made.ok()) made = place.Ip(arguments);
    };
    const auto address = [&made](const Namespace& place, const std::string& device,
                                 const std::string& ip) {
      if (made.ok()) made = place.AddAddress(device, ip);
    };
    address(*router, "own0", "10.9.8.1/24");
    address(*router, "own0", "fd09::1/64");
    // From which the kernel asks for neighbours in the name of others (RFC 4291, 2.1).
    address(*router, "own0", "fe80::1/64");
    for (const auto& [device, place, host] :
         {std::tuple{"near0", &*client, 2}, std::tuple{"far0", &*server, 3}}) {
      ip(*router, absl::StrCat("link set ", device, " netns ", place->path()));
      address(*place, device, absl::StrCat("10.9.8.", host, "/24"));
      address(*place, device, absl::StrCat("fd09::", host, "/64"));
      ip(*place, absl::StrCat("link set ", device, " up"));
      if (made.ok()) made = testnet::WaitForLink(*place, device, true);
    }
    return made;
  }
};

struct Heard {
  std::string text;
  Address from;
  int hops = 0;
};

// A UDP socket of the kernel's.
class KernelSocket {
 public:
  KernelSocket(const Namespace& place, const std::string& local) {
    const testnet::ScopedNamespace there(place);
    const Address address = *Address::Parse(local);
    fd_ = linux_transport::OpenBoundSocket(SOCK_DGRAM, address, false).value();
    v4_ = address.kind() == Address::Kind::kIpv4;
    linux_transport::SetOption(fd_, v4_ ? IPPROTO_IP : IPPROTO_IPV6,
                               v4_ ? IP_RECVTTL : IPV6_RECVHOPLIMIT, 1);
  }
  Address address() const { return ToAddress(linux_transport::BoundAddress(fd_).value()); }
  void SetHops(int hops) {
    ASSERT_TRUE(linux_transport::SetOption(fd_, v4_ ? IPPROTO_IP : IPPROTO_IPV6,
                                           v4_ ? IP_TTL : IPV6_UNICAST_HOPS, hops));
  }
  void OmitChecksums() { ASSERT_TRUE(linux_transport::SetOption(fd_, SOL_SOCKET, SO_NO_CHECK, 1)); }

  void Send(const Address& to, const std::string& text) {
    const SocketAddress name = linux_transport::ToSocketAddress(to);
    ASSERT_EQ(sendto(fd_.get(), text.data(), text.size(), 0, &name.any, name.length),
              static_cast<ssize_t>(text.size()));
  }
  // Nothing if nothing comes within the time.
  Heard Receive(int wait_ms = kPatienceMs) {
    pollfd event = {fd_.get(), POLLIN, 0};
    if (poll(&event, 1, wait_ms) != 1) return {};
    SocketAddress from;
    char text[16384];
    iovec piece = {text, sizeof(text)};
    alignas(cmsghdr) char control[64];
    msghdr header = {};
    header.msg_name = &from.any;
    header.msg_namelen = from.length;
    header.msg_iov = &piece;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
    const ssize_t n = recvmsg(fd_.get(), &header, 0);
    if (n < 0) return {};
    Heard heard = {{text, static_cast<size_t>(n)}, ToAddress(from)};
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
      std::memcpy(&heard.hops, CMSG_DATA(c), sizeof(heard.hops));
    }
    return heard;
  }

 private:
  static Address ToAddress(const SocketAddress& name) { return linux_transport::ToAddress(name); }

  UniqueFd fd_;
  bool v4_ = true;
};

enum class Way { kStack, kRawSockets };

class ForwardNetworkTest : public testing::TestWithParam<std::tuple<Way, bool>> {
 protected:
  static Way way() { return std::get<0>(GetParam()); }
  static bool v4() { return std::get<1>(GetParam()); }

  void SetUp() override {
    if (!Network::Get().status.ok()) GTEST_SKIP() << Network::Get().status;
    config::Transport config;
    config.set_name("linux");
    if (way() == Way::kRawSockets) {
      config.mutable_linux()->set_foreign_source(true);
      transport_ = OpenPlainTransport(config).value();
    } else {
      config.mutable_linux()->mutable_packet()->set_interface("own0");
      config::Netstack netstack;
      netstack.add_addresses("10.9.8.4/24");
      netstack.add_addresses("fd09::4/64");
      netstack.set_datagram_bytes_max(8000);
      auto stack = NetstackTransport::Open(OpenPlainTransport(config).value(), netstack, 1).value();
      netstack_ = stack.get();
      transport_ = std::move(stack);
    }
    port_ = transport_->OpenDatagramPort({.local = *Address::Parse(Local())}).value();
    EXPECT_TRUE(port_->capabilities().keeps_foreign_source);
    client_ =
        std::make_unique<KernelSocket>(*Network::Get().client, v4() ? "10.9.8.2:0" : "[fd09::2]:0");
    server_ =
        std::make_unique<KernelSocket>(*Network::Get().server, v4() ? "10.9.8.3:0" : "[fd09::3]:0");
  }
  static std::string Local() {
    if (way() == Way::kRawSockets) return v4() ? "10.9.8.1:0" : "[fd09::1]:0";
    return v4() ? "10.9.8.4:0" : "[fd09::4]:0";
  }

  // Lets the router send on `n` datagrams to the server.
  void Route(size_t n) {
    const Peer to = port_->Resolve(server_->address()).value();
    for (int i = 0; i < kPolls && n > 0; ++i) {
      Datagram in[8];
      Peer sources[8];
      const size_t got = port_->Receive(absl::MakeSpan(in).first(std::min<size_t>(n, 8)));
      for (size_t k = 0; k < got; ++k) sources[k] = std::exchange(in[k].peer, to);
      ASSERT_EQ(port_->Forward(absl::MakeSpan(in).first(got), absl::MakeSpan(sources).first(got)),
                got);
      n -= got;
      if (got == 0) poll(nullptr, 0, 1);
    }
    EXPECT_EQ(n, 0u) << "they did not arrive";
  }
  // What the server hears, while the router goes on with what it has to do.
  Heard HeardByServer(int wait_ms = kPatienceMs) {
    for (int waited_ms = 0; waited_ms < wait_ms; ++waited_ms) {
      if (Heard heard = server_->Receive(1); heard.from != Address()) return heard;
      Datagram ignored[1];
      port_->Receive(absl::MakeSpan(ignored));
    }
    return {};
  }

  NetstackTransport* netstack_ = nullptr;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<DatagramPort> port_;
  std::unique_ptr<KernelSocket> client_;
  std::unique_ptr<KernelSocket> server_;
};

INSTANTIATE_TEST_SUITE_P(Ways, ForwardNetworkTest,
                         testing::Combine(testing::Values(Way::kStack, Way::kRawSockets),
                                          testing::Bool()),
                         [](const auto& info) {
                           return absl::StrCat(
                               std::get<0>(info.param) == Way::kStack ? "stack" : "raw_sockets",
                               std::get<1>(info.param) ? "_ipv4" : "_ipv6");
                         });

// Also the first one, whose neighbour the stack does not know.
TEST_P(ForwardNetworkTest, TheServerSeesTheClientAndAnswersIt) {
  for (const size_t size : {1u, 2u, 64u, 1001u, 1452u}) {
    const std::string text(size, static_cast<char>('a' + size % 26));
    client_->Send(port_->local_address(), text);
    Route(1);
    const Heard heard = HeardByServer();
    EXPECT_EQ(heard.text, text);
    EXPECT_EQ(heard.from, client_->address());
    EXPECT_EQ(heard.hops, way() == Way::kStack ? 63 : 64);
    server_->Send(heard.from, "answer");
    const Heard answer = client_->Receive();
    EXPECT_EQ(answer.text, "answer");
    EXPECT_EQ(answer.from, server_->address());
  }
  EXPECT_EQ(port_->stats().send_failed, 0u);
}

TEST_P(ForwardNetworkTest, DatagramsWithoutChecksumArrive) {
  if (!v4()) GTEST_SKIP() << "there must be one over IPv6";
  client_->OmitChecksums();
  client_->Send(port_->local_address(), "no checksum");
  Route(1);
  const Heard heard = HeardByServer();
  EXPECT_EQ(heard.text, "no checksum");
  EXPECT_EQ(heard.from, client_->address());
}

// What the router changes is sent with a checksum of its own, which the kernel verifies.
TEST_P(ForwardNetworkTest, ChangedDatagramsArrive) {
  client_->Send(port_->local_address(), "what it was");
  const Peer to = port_->Resolve(server_->address()).value();
  Datagram in[1];
  for (int i = 0; i < kPolls && port_->Receive(absl::MakeSpan(in)) == 0; ++i) poll(nullptr, 0, 1);
  ASSERT_TRUE(in[0].buffer);
  const Peer source = std::exchange(in[0].peer, to);
  std::memcpy(in[0].buffer.data(), "WHAT", 4);
  in[0].buffer.offload() = {};
  ASSERT_EQ(port_->Forward(absl::MakeSpan(in), {&source, 1}), 1u);
  const Heard heard = HeardByServer();
  EXPECT_EQ(heard.text, "WHAT it was");
  EXPECT_EQ(heard.from, client_->address());
}

TEST_P(ForwardNetworkTest, TheHopLimitIsKeptByTheStack) {
  client_->SetHops(1);
  client_->Send(port_->local_address(), "last hop");
  Route(1);
  if (way() == Way::kRawSockets) {
    EXPECT_EQ(HeardByServer().hops, 64) << "a socket does not learn what is left of it";
    return;
  }
  EXPECT_EQ(port_->stats().send_failed, 1u);
  EXPECT_EQ(netstack_->StackOfThisThread()->stats().hops_exceeded.value(), 1u);
  EXPECT_EQ(netstack_->StackOfThisThread()->stats().errors_sent.value(), 1u);
  client_->SetHops(2);
  client_->Send(port_->local_address(), "one more");
  Route(1);
  const Heard heard = HeardByServer();
  EXPECT_EQ(heard.text, "one more");
  EXPECT_EQ(heard.hops, 1);
}

// As long as a neighbour does not answer, what is sent to it fills the socket. The rest stays the
// caller's, and nothing is lost.
TEST_P(ForwardNetworkTest, WhatAFullSocketDoesNotTakeStays) {
  if (way() == Way::kStack) GTEST_SKIP() << "there, queues of neighbours drop the oldest";
  config::Transport config;
  config.set_name("linux");
  config.mutable_linux()->set_foreign_source(true);
  config.mutable_linux()->set_send_buffer_bytes(1);  // the least that the kernel grants
  transport_ = OpenPlainTransport(config).value();
  port_ = transport_->OpenDatagramPort({.local = *Address::Parse(Local())}).value();
  KernelSocket late(*Network::Get().server, v4() ? "0.0.0.0:0" : "[::]:0");
  const std::string ip = v4() ? "10.9.8.7" : "fd09::7";
  const uint16_t udp_port = late.address().port();
  const Peer to =
      port_->Resolve(*Address::Parse(absl::StrCat(v4() ? ip : "[" + ip + "]", ":", udp_port)))
          .value();
  std::vector<Datagram> burst;
  std::vector<std::string> texts;
  for (int i = 0; i < 40; ++i) {
    texts.push_back(std::string(700, static_cast<char>('0' + i)));
    Datagram& datagram = burst.emplace_back(Datagram{to, port_->pool().Allocate()});
    std::memcpy(datagram.buffer.Append(700), texts.back().data(), 700);
  }
  const std::vector<Peer> sources(40, port_->Resolve(client_->address()).value());
  size_t done = port_->Forward(absl::MakeSpan(burst), sources);
  EXPECT_GT(done, 0u);
  ASSERT_LT(done, 40u);
  EXPECT_EQ(port_->stats().send_blocked, 1u);
  EXPECT_EQ(port_->stats().sent, done);
  EXPECT_FALSE(port_->Arm()) << "a loop must not sleep now";
  const auto forward_rest = [&] {
    return port_->Forward(absl::MakeSpan(burst).subspan(done),
                          absl::MakeSpan(sources).subspan(done));
  };
  EXPECT_EQ(forward_rest(), 0u);
  for (size_t i = 0; i < 40; ++i) ASSERT_EQ(static_cast<bool>(burst[i].buffer), i >= done);
  // Now it is there.
  ASSERT_TRUE(
      Network::Get().server->AddAddress("far0", absl::StrCat(ip, v4() ? "/24" : "/64")).ok());
  for (int i = 0; i < kPolls && done < 40; ++i) {
    done += forward_rest();
    poll(nullptr, 0, 1);
  }
  ASSERT_EQ(done, 40u);
  for (const std::string& text : texts) {
    const Heard heard = late.Receive();
    ASSERT_EQ(heard.text, text);
    ASSERT_EQ(heard.from, client_->address());
  }
  EXPECT_EQ(port_->stats().send_failed, 0u);
}

TEST_P(ForwardNetworkTest, LongDatagramsTakeFragments) {
  const std::string text(4001, 'x');
  client_->Send(port_->local_address(), text);
  if (way() == Way::kRawSockets) {
    config::Transport config;
    config.set_name("linux");
    config.mutable_linux()->set_foreign_source(true);
    config.mutable_buffers()->set_bytes(8192);
    transport_ = OpenPlainTransport(config).value();
    port_ = transport_->OpenDatagramPort({.local = *Address::Parse(Local())}).value();
    client_->Send(port_->local_address(), text);
    Route(1);
    EXPECT_EQ(port_->stats().send_failed, 1u) << "raw sockets do not cut";
    return;
  }
  Route(1);
  const Heard heard = HeardByServer();
  EXPECT_EQ(heard.text, text);
  EXPECT_EQ(heard.from, client_->address());
}

}  // namespace
}  // namespace weft::netstack
