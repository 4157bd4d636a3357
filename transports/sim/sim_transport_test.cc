// SPDX-License-Identifier: Apache-2.0

#include "weft/transports/sim/sim_transport.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/config/config.h"
#include "weft/core/loop.h"
#include "weft/core/virtual_time.h"
#include "weft/transports/registry.h"
#include "weft/transports/sim/network.h"

namespace weft::sim {
namespace {

using PortPtr = std::unique_ptr<DatagramPort>;

PortPtr OpenDatagrams(Transport* transport, const std::string& name) {
  return transport->OpenDatagramPort({.local = Address::Sim(name)}).value();
}

Buffer BufferOf(BufferPool* pool, const std::string& text) {
  Buffer buffer = pool->Allocate();
  if (!text.empty()) std::memcpy(buffer.Append(text.size()), text.data(), text.size());
  return buffer;
}

void SendText(DatagramPort* port, const Peer& to, const std::string& text) {
  Datagram out[1] = {{to, BufferOf(&port->pool(), text)}};
  ASSERT_EQ(port->Send(absl::MakeSpan(out)), 1u);
  EXPECT_FALSE(out[0].buffer) << "the buffer was not taken";
}

std::string TextOf(const Buffer& buffer) {
  return std::string(reinterpret_cast<const char*>(buffer.data()), buffer.size());
}

// Everything that has arrived.
std::vector<std::string> ReceiveTexts(DatagramPort* port) {
  std::vector<std::string> texts;
  Datagram in[8];
  while (size_t n = port->Receive(absl::MakeSpan(in))) {
    for (size_t i = 0; i < n; ++i) texts.push_back(TextOf(in[i].buffer));
  }
  return texts;
}

void RunToEnd(Network* network) {
  while (network->NextEventNs() != INT64_MAX) network->AdvanceTo(network->NextEventNs());
}

TEST(SimDatagramPortTest, ExchangesMessages) {
  Network network(1);
  auto transport = OpenTransport(&network);
  PortPtr server = OpenDatagrams(transport.get(), "server");
  PortPtr client = transport->OpenDatagramPort({}).value();
  EXPECT_EQ(server->local_address().ToString(), "sim:server");
  EXPECT_NE(client->local_address(), server->local_address());

  const Peer to_server = client->Resolve(*Address::Parse("sim:server")).value();
  SendText(client.get(), to_server, "hello");
  SendText(client.get(), to_server, "");
  EXPECT_TRUE(ReceiveTexts(server.get()).empty());  // no time has passed
  RunToEnd(&network);

  Datagram in[8];
  ASSERT_EQ(server->Receive(absl::MakeSpan(in)), 2u);
  EXPECT_EQ(TextOf(in[0].buffer), "hello");
  EXPECT_EQ(in[1].buffer.size(), 0u);
  EXPECT_EQ(server->AddressOf(in[0].peer).value(), client->local_address());
  SendText(server.get(), in[0].peer, "hello yourself");
  RunToEnd(&network);
  EXPECT_EQ(ReceiveTexts(client.get()), std::vector<std::string>{"hello yourself"});
  EXPECT_EQ(client->stats().sent, 2u);
  EXPECT_EQ(server->stats().received, 2u);
  EXPECT_EQ(server->stats().received_bytes, 5u);
}

TEST(SimDatagramPortTest, RefusesWhatCannotBeSent) {
  Network network(1);
  auto transport = OpenTransport(&network, {.bytes = 4096});
  PortPtr port = OpenDatagrams(transport.get(), "a");
  const Peer self = port->Resolve(port->local_address()).value();
  const size_t max = port->capabilities().max_payload_bytes;
  SendText(port.get(), self, std::string(max + 1, 'x'));
  SendText(port.get(), Peer{}, "nobody");
  SendText(port.get(), Peer{{99, 0, 0}}, "no such node");
  SendText(port.get(), self, std::string(max, 'x'));
  RunToEnd(&network);
  EXPECT_EQ(ReceiveTexts(port.get()), std::vector<std::string>{std::string(max, 'x')});
  EXPECT_EQ(port->stats().send_failed, 3u);
  EXPECT_EQ(port->Resolve(*Address::Parse("127.0.0.1:1")).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(port->AddressOf(Peer{}).status().code(), absl::StatusCode::kNotFound);
}

TEST(SimDatagramPortTest, AnAddressIsOpenOnce) {
  Network network(1);
  auto transport = OpenTransport(&network);
  PortPtr port = OpenDatagrams(transport.get(), "a");
  const auto again = transport->OpenDatagramPort({.local = Address::Sim("a")});
  EXPECT_EQ(again.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(again.status().message(), "sim:a is in use (queue 0 of 1)");
  EXPECT_EQ(transport->OpenDatagramPort({.local = *Address::Parse("[::1]:1")}).status().code(),
            absl::StatusCode::kInvalidArgument);
  port.reset();
  EXPECT_TRUE(transport->OpenDatagramPort({.local = Address::Sim("a")}).ok());
}

TEST(SimDatagramPortTest, APeerKeepsToOneQueue) {
  Network network(1);
  auto transport = OpenTransport(&network);
  std::vector<PortPtr> queues;
  for (int i = 0; i < 2; ++i) {
    queues.push_back(
        transport->OpenDatagramPort({.local = Address::Sim("server"), .queue = i, .queues = 2})
            .value());
  }
  std::vector<PortPtr> clients;
  for (int i = 0; i < 10; ++i) {
    clients.push_back(transport->OpenDatagramPort({}).value());
    const Peer server = clients.back()->Resolve(Address::Sim("server")).value();
    for (int k = 0; k < 3; ++k) SendText(clients.back().get(), server, absl::StrCat(i));
  }
  RunToEnd(&network);
  for (const PortPtr& queue : queues) {
    std::vector<std::string> texts = ReceiveTexts(queue.get());
    std::sort(texts.begin(), texts.end());
    ASSERT_EQ(texts.size(), 15u);
    for (size_t i = 0; i < texts.size(); i += 3) EXPECT_EQ(texts[i], texts[i + 2]);
  }
}

TEST(SimDatagramPortTest, SaysOnceThatAPeerIsUnreachable) {
  Network network(1);
  auto transport = OpenTransport(&network);
  PortPtr client = OpenDatagrams(transport.get(), "client");
  const Peer gone = client->Resolve(Address::Sim("gone")).value();
  for (int i = 0; i < 3; ++i) SendText(client.get(), gone, "x");
  RunToEnd(&network);
  PortEvent events[4];
  ASSERT_EQ(client->TakeEvents(absl::MakeSpan(events)), 1u);
  EXPECT_EQ(events[0].kind, PortEvent::Kind::kPeerUnreachable);
  EXPECT_EQ(events[0].peer, gone);
  EXPECT_EQ(events[0].error, ECONNREFUSED);
  EXPECT_EQ(client->TakeEvents(absl::MakeSpan(events)), 0u);
}

TEST(SimDatagramPortTest, MessagesWaitForBuffersAndAFullInboxDrops) {
  Network network(1, {.bandwidth_bps = 0});
  auto transport = OpenTransport(&network, {.count = 64});
  PortPtr server = OpenDatagrams(transport.get(), "server");
  PortPtr client = OpenDatagrams(transport.get(), "client");
  const Peer to_server = client->Resolve(Address::Sim("server")).value();
  for (int i = 0; i < 5000; ++i) SendText(client.get(), to_server, absl::StrCat(i));
  RunToEnd(&network);
  {
    std::vector<Datagram> held(100);
    EXPECT_EQ(server->Receive(absl::MakeSpan(held)), 64u);
    EXPECT_EQ(server->Receive(absl::MakeSpan(held).subspan(64)), 0u);
  }
  EXPECT_EQ(ReceiveTexts(server.get()).size(), 4096u - 64);
  EXPECT_EQ(server->stats().receive_dropped, 5000u - 4096);
}

using MacBytes = MacAddress;

Buffer Frame(FramePort* from, const MacBytes& to, size_t bytes) {
  Buffer frame = from->pool().Allocate();
  std::memset(frame.Append(bytes), 0, bytes);
  if (bytes < 14) return frame;
  std::memcpy(frame.data(), to.data(), 6);
  std::memcpy(frame.data() + 6, from->mac().data(), 6);
  return frame;
}

size_t ReceiveFrames(FramePort* port) {
  Buffer in[16];
  return port->Receive(absl::MakeSpan(in));
}

TEST(SimFramePortTest, SwitchesByMacAddress) {
  Network network(1);
  auto transport = OpenTransport(&network);
  std::vector<std::unique_ptr<FramePort>> ports;
  for (const char* name : {"a", "b", "c"}) {
    ports.push_back(transport->OpenFramePort({.local = Address::Sim(name)}).value());
  }
  PortPtr not_on_the_segment = OpenDatagrams(transport.get(), "d");
  FramePort* a = ports[0].get();
  EXPECT_NE(a->mac(), ports[1]->mac());
  EXPECT_EQ(a->mac()[0] & 3, 2);  // locally administered, one station
  EXPECT_TRUE(a->link_up());
  EXPECT_EQ(a->capabilities().max_frame_bytes, 1514u);

  const MacBytes everyone = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
  const MacBytes group = {0x33, 0x33, 0, 0, 0, 1};
  const MacBytes nobody = {0x02, 0, 0, 0, 0, 99};
  Buffer out[] = {Frame(a, ports[1]->mac(), 60), Frame(a, everyone, 1514),
                  Frame(a, group, 60),           Frame(a, nobody, 60),
                  Frame(a, everyone, 13),        Frame(a, everyone, 1515)};
  EXPECT_EQ(a->Send(absl::MakeSpan(out)), 6u);
  RunToEnd(&network);
  EXPECT_EQ(ReceiveFrames(ports[0].get()), 0u);
  EXPECT_EQ(ReceiveFrames(ports[1].get()), 3u);
  EXPECT_EQ(ReceiveFrames(ports[2].get()), 2u);
  EXPECT_EQ(a->stats().send_failed, 2u);
}

TEST(SimTransportTest, IsRegisteredAndConfigured) {
  const TransportPlugin* plugin = FindTransport("sim");
  ASSERT_NE(plugin, nullptr);
  EXPECT_TRUE(plugin->probe().ok());
  EXPECT_EQ(FindTransportFor(Address::Kind::kSim), plugin);

  config::Transport config;
  config.set_name("sim");
  config.mutable_sim()->set_network("configured");
  config.mutable_sim()->set_latency_us(50);
  config.mutable_sim()->set_bandwidth_mbps(0);
  auto one = OpenPlainTransport(config).value();
  auto two = OpenPlainTransport(config).value();
  PortPtr server = OpenDatagrams(one.get(), "server");
  PortPtr client = OpenDatagrams(two.get(), "client");
  SendText(client.get(), client->Resolve(Address::Sim("server")).value(), "x");
  ASSERT_EQ(one->virtual_time(), two->virtual_time());
  one->virtual_time()->AdvanceTo(49'999);
  EXPECT_TRUE(ReceiveTexts(server.get()).empty());
  one->virtual_time()->AdvanceTo(50'000);
  EXPECT_EQ(ReceiveTexts(server.get()).size(), 1u);

  config::Transport other = config;
  other.mutable_sim()->set_loss(0.5);
  EXPECT_EQ(OpenPlainTransport(other).status().code(), absl::StatusCode::kFailedPrecondition);
  other.mutable_sim()->set_network("another");
  auto three = OpenPlainTransport(other).value();
  EXPECT_NE(three->virtual_time(), one->virtual_time());
}

TEST(SimTransportTest, OneThreadAtATime) {
  Network network(1);
  auto transport = OpenTransport(&network);
  PortPtr port = OpenDatagrams(transport.get(), "a");
  std::thread([&] {
    EXPECT_EQ(transport->OpenDatagramPort({}).status().code(),
              absl::StatusCode::kFailedPrecondition);
    port->BindToThisThread();
    EXPECT_TRUE(transport->OpenDatagramPort({}).ok());
    port.reset();
  }).join();
}

// Answers whatever arrives, as a loop's pollable.
class Endpoint : public Pollable {
 public:
  Endpoint(PortPtr port, uint64_t rounds) : port_(std::move(port)), rounds_(rounds) {}

  void Start(const std::string& peer) {
    SendText(port_.get(), port_->Resolve(Address::Sim(peer)).value(), "ping");
  }
  size_t Poll() override {
    Datagram burst[32];
    const size_t n = port_->Receive(absl::MakeSpan(burst));
    size_t answered = 0;
    for (size_t i = 0; i < n; ++i) {
      if (received_++ >= rounds_) continue;
      std::swap(burst[answered].peer, burst[i].peer);
      std::swap(burst[answered++].buffer, burst[i].buffer);
    }
    port_->Send(absl::MakeSpan(burst, answered));
    return n;
  }
  uint64_t received() const { return received_; }

 private:
  PortPtr port_;
  const uint64_t rounds_;
  uint64_t received_ = 0;
};

// 5,000 endpoints in pairs, each pair with a ping-pong of its own; returns the run's digest.
uint64_t RunCrowd(uint64_t seed) {
  constexpr size_t kEndpoints = 5000;
  constexpr uint64_t kRounds = 4;
  Network network(seed, {.latency_ns = 5'000, .jitter_ns = 5'000});
  network.set_tick_ns(1'000);
  auto transport = OpenTransport(&network, {.count = 64});
  Loop loop({}, network);
  std::vector<std::unique_ptr<Endpoint>> endpoints;
  for (size_t i = 0; i < kEndpoints; ++i) {
    endpoints.push_back(std::make_unique<Endpoint>(
        OpenDatagrams(transport.get(), absl::StrCat("node-", i)), kRounds));
    loop.Add(endpoints.back().get());
  }
  for (size_t i = 0; i < kEndpoints; i += 2)
    endpoints[i]->Start(absl::StrCat("node-", kEndpoints - 1 - i));
  Loop* const loops[] = {&loop};
  EXPECT_FALSE(
      RunVirtual(network, loops, [] { return false; }));  // until nothing is left to happen
  uint64_t received = 0;
  for (const auto& endpoint : endpoints) {
    received += endpoint->received();
    loop.Remove(endpoint.get());
  }
  EXPECT_EQ(received, kEndpoints / 2 * (2 * kRounds + 1));
  return network.digest();
}

TEST(SimTransportTest, FiveThousandEndpointsExchangeMessagesReproducibly) {
  EXPECT_EQ(RunCrowd(1), RunCrowd(1));
}

// --- Long messages that are fetched

class BulkTest : public testing::Test {
 protected:
  // What one Fetch() of `bytes` comes to.
  enum class Outcome { kRefused, kFailed, kOk };
  Outcome Fetch(const BulkKey& key, size_t bytes) {
    Buffer room = reader_->bulk()->Allocate(bytes);
    if (!reader_->bulk()->Fetch(owner_peer_, key, bytes, room, /*context=*/7)) {
      EXPECT_TRUE(room) << "it stays the caller's";
      return Outcome::kRefused;
    }
    EXPECT_FALSE(room);
    RunToEnd(&network_);
    BulkTransfers::Fetched fetched[2];
    EXPECT_EQ(reader_->bulk()->TakeFetched(absl::MakeSpan(fetched)), 1u);
    EXPECT_EQ(fetched[0].context, 7u);
    EXPECT_TRUE(fetched[0].buffer);
    text_ = TextOf(fetched[0].buffer);
    return fetched[0].ok ? Outcome::kOk : Outcome::kFailed;
  }
  Buffer Message(const std::string& text) {
    Buffer buffer = owner_->bulk()->Allocate(text.size());
    std::memcpy(buffer.Append(text.size()), text.data(), text.size());
    return buffer;
  }

  Network network_{1, {.latency_ns = 10'000, .bandwidth_bps = 8'000'000'000}};
  std::unique_ptr<Transport> transport_ =
      OpenTransport(&network_, {}, {.count = 2, .bytes = 100'000, .min_bytes = 1000});
  PortPtr owner_ = OpenDatagrams(transport_.get(), "owner");
  PortPtr reader_ = OpenDatagrams(transport_.get(), "reader");
  Peer owner_peer_ = *reader_->Resolve(Address::Sim("owner"));
  Peer reader_peer_ = *owner_->Resolve(Address::Sim("reader"));
  std::string text_;
};

TEST_F(BulkTest, OffUnlessAsked) {
  EXPECT_EQ(transport_->capabilities().bulk_min_bytes, 1000u);
  const auto plain = OpenTransport(&network_);
  EXPECT_EQ(plain->capabilities().bulk_min_bytes, 0u);
  EXPECT_EQ(OpenDatagrams(plain.get(), "plain")->bulk(), nullptr);
}

TEST_F(BulkTest, FetchesInTheNetworksTime) {
  const std::string text(80'000, 'x');
  const Buffer message = Message(text);
  const std::optional<BulkKey> key = owner_->bulk()->Expose(reader_peer_, message);
  ASSERT_TRUE(key.has_value());
  EXPECT_EQ(Fetch(*key, text.size()), Outcome::kOk);
  EXPECT_TRUE(text_ == text);
  EXPECT_EQ(network_.NowNs(), 2 * 10'000 + 80'000) << "two latencies, and a nanosecond a byte";
  EXPECT_EQ(Fetch(*key, 10), Outcome::kOk);
  EXPECT_EQ(text_, text.substr(0, 10));
  owner_->bulk()->Conceal(*key);
  owner_->bulk()->Conceal(*key);
  EXPECT_EQ(Fetch(*key, 10), Outcome::kFailed);
  EXPECT_TRUE(network_.bulk().exposures.empty());
  EXPECT_EQ(network_.bulk().fetched, 2u);
  EXPECT_EQ(network_.bulk().failed, 1u);
}

TEST_F(BulkTest, WhatIsNotForThisPeerOrNotThereFails) {
  const Buffer message = Message(std::string(5000, 'y'));
  const BulkKey key = *owner_->bulk()->Expose(reader_peer_, message);
  EXPECT_EQ(Fetch(key, 5001), Outcome::kFailed);
  EXPECT_EQ(Fetch(BulkKey(), 10), Outcome::kFailed);
  BulkKey bent = key;
  bent.bytes[9] ^= 1;
  EXPECT_EQ(Fetch(bent, 10), Outcome::kFailed);
  const PortPtr other = OpenDatagrams(transport_.get(), "other");
  owner_peer_ = *reader_->Resolve(Address::Sim("other"));
  EXPECT_EQ(Fetch(key, 10), Outcome::kFailed) << "of another owner";
  owner_peer_ = *reader_->Resolve(Address::Sim("owner"));
  EXPECT_EQ(Fetch(key, 10), Outcome::kOk);
  ASSERT_TRUE(network_.Partition({{*network_.AddNode("reader")}}).ok());
  EXPECT_EQ(Fetch(key, 10), Outcome::kFailed);
  network_.Heal();
  EXPECT_EQ(Fetch(key, 10), Outcome::kOk);
  owner_.reset();
  EXPECT_EQ(Fetch(key, 10), Outcome::kFailed);
  EXPECT_TRUE(network_.bulk().exposures.empty()) << "they end with their port";
}

TEST_F(BulkTest, BuffersAreFewAndPortsMayEndInTheMidst) {
  Buffer a = owner_->bulk()->Allocate(100'000);
  const Buffer b = owner_->bulk()->Allocate(1);
  EXPECT_TRUE(a && b);
  EXPECT_FALSE(owner_->bulk()->Allocate(1));
  EXPECT_TRUE(owner_->bulk()->Owns(a));
  EXPECT_FALSE(reader_->bulk()->Owns(a));
  a.Reset();
  EXPECT_FALSE(owner_->bulk()->Allocate(100'001)) << "too long";
  const Buffer message = Message("0123456789");
  const BulkKey key = *owner_->bulk()->Expose(reader_peer_, message);
  Buffer room = reader_->bulk()->Allocate(10);
  ASSERT_TRUE(reader_->bulk()->Fetch(owner_peer_, key, 10, room, 1));
  reader_.reset();
  RunToEnd(&network_);
  EXPECT_EQ(network_.bulk().fetched, 0u);
}

TEST_F(BulkTest, SeesWhatChangesWhileItIsExposed) {
  Buffer message = Message("0123456789");
  const BulkKey key = *owner_->bulk()->Expose(reader_peer_, message);
  message.data()[3] = 'x';
  owner_->bulk()->Conceal(key);
  EXPECT_EQ(network_.bulk().changed, 1u);
}

TEST_F(BulkTest, FailsAsItIsTold) {
  const Buffer message = Message("0123456789");
  const BulkKey key = *owner_->bulk()->Expose(reader_peer_, message);
  network_.bulk().faults = {.fail = 1};
  EXPECT_EQ(Fetch(key, 10), Outcome::kFailed);
  EXPECT_EQ(text_, "") << "empty, as it was given";
  network_.bulk().faults = {.no_way = 1};
  EXPECT_EQ(Fetch(key, 10), Outcome::kRefused);
  EXPECT_FALSE(owner_->bulk()->Expose(reader_peer_, message).has_value());
  network_.bulk().faults = {.no_buffer = 1};
  EXPECT_FALSE(reader_->bulk()->Allocate(10));
  network_.bulk().faults = {.set_up_ns = 1000};
  const PortPtr fresh = OpenDatagrams(transport_.get(), "fresh");
  const Peer peer = *owner_->Resolve(Address::Sim("fresh"));
  EXPECT_FALSE(owner_->bulk()->Expose(peer, message).has_value()) << "it is being made";
  network_.AdvanceTo(network_.NowNs() + 1000);
  EXPECT_TRUE(owner_->bulk()->Expose(peer, message).has_value());
}

}  // namespace
}  // namespace weft::sim
