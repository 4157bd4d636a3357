// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/shm/shm_datagram_port.h"

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "weft/transports/shm/test_util.h"

namespace weft::shm {
namespace {

class ShmDatagramPortTest : public ::testing::Test {
 protected:
  TempDirectory directory_;
  std::unique_ptr<Transport> transport_ = OpenShm(Config(directory_.path()));
};

TEST_F(ShmDatagramPortTest, EchoesBetweenTwoPorts) {
  auto server = OpenPort(*transport_, "echo");
  auto client = OpenPort(*transport_);
  const auto to = client->Resolve(Address::Shm("echo"));
  ASSERT_TRUE(to.ok()) << to.status();
  ASSERT_TRUE(SendText(*client, *to, "hello"));

  Datagram request = ReceiveOne(*server);
  EXPECT_EQ(Text(request.buffer), "hello");
  EXPECT_EQ(*server->AddressOf(request.peer), client->local_address());
  EXPECT_EQ(server->Send(absl::MakeSpan(&request, 1)), 1u);

  Datagram reply = ReceiveOne(*client);
  EXPECT_EQ(Text(reply.buffer), "hello");
  EXPECT_EQ(reply.peer, *to);
  EXPECT_EQ(*client->AddressOf(*to), Address::Shm("echo"));
}

TEST_F(ShmDatagramPortTest, ResolvingAgainGivesTheSamePeer) {
  auto server = OpenPort(*transport_, "echo");
  auto client = OpenPort(*transport_);
  const Peer first = *client->Resolve(Address::Shm("echo"));
  EXPECT_EQ(*client->Resolve(Address::Shm("echo")), first);
  ASSERT_TRUE(SendText(*client, first, "x"));
  const Datagram received = ReceiveOne(*server);
  EXPECT_EQ(*server->Resolve(client->local_address()), received.peer);
}

TEST_F(ShmDatagramPortTest, APortCanSendToItself) {
  auto port = OpenPort(*transport_, "self");
  const Peer self = *port->Resolve(port->local_address());
  ASSERT_TRUE(SendText(*port, self, "me"));
  EXPECT_EQ(Text(ReceiveOne(*port).buffer), "me");
}

TEST_F(ShmDatagramPortTest, RefusesWhatItCannotReach) {
  auto port = OpenPort(*transport_);
  EXPECT_TRUE(absl::IsNotFound(port->Resolve(Address::Shm("nobody")).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(port->Resolve(Address::Ipv4({127, 0, 0, 1}, 1)).status()));
  EXPECT_TRUE(absl::IsNotFound(port->AddressOf(Peer{{7, 7, 7}}).status()));
}

TEST_F(ShmDatagramPortTest, DropsAndCountsWhatCanNeverBeSent) {
  auto server = OpenPort(*transport_, "echo");
  auto client = OpenPort(*transport_);
  const Peer to = *client->Resolve(Address::Shm("echo"));
  Datagram burst[3] = {Message(*client, Peer{{9, 9, 9}}, "nobody"), Message(*client, to, ""),
                       Message(*client, to, "after")};
  const size_t too_long = client->capabilities().max_payload_bytes + 1;
  BufferPool large({.count = 1, .bytes = too_long + 1024});
  burst[1].buffer = large.Allocate();
  burst[1].buffer.Append(too_long);
  EXPECT_EQ(client->Send(absl::MakeSpan(burst)), 3u);
  EXPECT_FALSE(burst[0].buffer || burst[1].buffer || burst[2].buffer);
  EXPECT_EQ(client->stats().send_failed, 2u);
  EXPECT_EQ(client->stats().sent, 1u);
  EXPECT_EQ(Text(ReceiveOne(*server).buffer), "after");
}

TEST_F(ShmDatagramPortTest, CarriesEverySizeInOrder) {
  config::Transport config = Config(directory_.path());
  config.mutable_shm()->set_ring_bytes(4096);
  auto transport = OpenShm(config);
  auto server = OpenPort(*transport, "echo");
  auto client = OpenPort(*transport);
  const Peer to = *client->Resolve(Address::Shm("echo"));
  const size_t max = client->capabilities().max_payload_bytes;
  ASSERT_GT(max, 1500u);
  for (size_t size = 0; size <= max; ++size) {
    std::vector<uint8_t> bytes(size);
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(size * 31 + i);
    Datagram burst[1] = {Message(*client, to, bytes)};
    ASSERT_EQ(client->Send(absl::MakeSpan(burst)), 1u);
    const Datagram received = ReceiveOne(*server);
    ASSERT_EQ(received.buffer.bytes(), absl::MakeConstSpan(bytes)) << size;
  }
}

TEST_F(ShmDatagramPortTest, AFullRingStopsTheBurstAndRoomLetsItGoOn) {
  auto server = OpenPort(*transport_, "echo");
  auto client = OpenPort(*transport_);
  const Peer to = *client->Resolve(Address::Shm("echo"));
  int sent = 0;
  while (SendText(*client, to, std::to_string(sent))) ++sent;
  EXPECT_GT(sent, 1000);
  EXPECT_EQ(client->stats().send_blocked, 1u);
  Datagram kept[1] = {Message(*client, to, "kept")};
  EXPECT_EQ(client->Send(absl::MakeSpan(kept)), 0u);
  EXPECT_EQ(Text(kept[0].buffer), "kept");

  for (int i = 0; i < sent; ++i) EXPECT_EQ(Text(ReceiveOne(*server).buffer), std::to_string(i));
  EXPECT_EQ(client->Send(absl::MakeSpan(kept)), 1u);
  EXPECT_EQ(Text(ReceiveOne(*server).buffer), "kept");
  EXPECT_EQ(client->stats().send_failed, 0u);
}

TEST_F(ShmDatagramPortTest, WithoutBuffersMessagesWaitInTheRing) {
  config::Transport config = Config(directory_.path());
  config.mutable_buffers()->set_count(64);
  auto transport = OpenShm(config);
  auto server = OpenPort(*transport, "echo");
  auto client = OpenPort(*transport_);
  const Peer to = *client->Resolve(Address::Shm("echo"));
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(SendText(*client, to, std::to_string(i)));
  std::vector<Datagram> held;
  while (held.size() < 64) held.push_back(ReceiveOne(*server));
  Datagram none[1];
  EXPECT_EQ(server->Receive(absl::MakeSpan(none)), 0u);
  held.clear();
  for (int i = 64; i < 100; ++i) EXPECT_EQ(Text(ReceiveOne(*server).buffer), std::to_string(i));
  EXPECT_EQ(server->stats().receive_dropped, 0u);
}

TEST_F(ShmDatagramPortTest, WhatWasSentBeforeTheGoodbyeArrives) {
  auto server = OpenPort(*transport_, "echo");
  {
    auto client = OpenPort(*transport_);
    const Peer to = *client->Resolve(Address::Shm("echo"));
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(SendText(*client, to, std::to_string(i)));
  }
  Peer peer;
  for (int i = 0; i < 100; ++i) {
    const Datagram received = ReceiveOne(*server);
    EXPECT_EQ(Text(received.buffer), std::to_string(i));
    peer = received.peer;
  }
  const PortEvent event = NextEvent(*server);
  EXPECT_EQ(event.kind, PortEvent::Kind::kPeerClosed);
  EXPECT_EQ(event.peer, peer);
  EXPECT_TRUE(SendText(*server, peer, "too late"));
  EXPECT_EQ(server->stats().send_failed, 1u);
}

TEST_F(ShmDatagramPortTest, OneNameIsOnePorts) {
  auto first = OpenPort(*transport_, "echo");
  PortOptions options;
  options.local = Address::Shm("echo");
  EXPECT_TRUE(absl::IsAlreadyExists(transport_->OpenDatagramPort(options).status()));
  auto other = OpenShm(Config(directory_.path()));
  EXPECT_TRUE(absl::IsAlreadyExists(other->OpenDatagramPort(options).status()));
  first.reset();
  EXPECT_TRUE(other->OpenDatagramPort(options).ok());
}

}  // namespace
}  // namespace weft::shm
