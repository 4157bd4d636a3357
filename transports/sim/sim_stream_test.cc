// SPDX-License-Identifier: Apache-2.0

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "weft/core/prng.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"
#include "weft/transports/stream_port.h"

namespace weft::sim {
namespace {

using Kind = StreamEvent::Kind;

// A port whose streams are written from and read into strings, as fast as they go.
class Host {
 public:
  struct Stream {
    std::string to_send;
    bool close_when_sent = false;
    std::string received;
    std::vector<Kind> events;
    int error = 0;

    bool Saw(Kind kind) const { return std::count(events.begin(), events.end(), kind) > 0; }
  };

  Host(Transport* transport, const std::string& name)
      : port(transport->OpenStreamPort({.local = Address::Sim(name)}).value()) {}

  StreamId Connect(const std::string& name) { return port->Connect(Address::Sim(name)).value(); }
  Stream& operator[](StreamId id) { return streams[id.value]; }

  size_t Poll() {
    StreamEvent events[3];
    const size_t n = port->Poll(absl::MakeSpan(events));
    for (size_t i = 0; i < n; ++i) {
      const StreamEvent& event = events[i];
      Stream& stream = streams[event.stream.value];
      EXPECT_FALSE(stream.Saw(Kind::kClosed)) << "an event after the last";
      stream.events.push_back(event.kind);
      if (event.kind == Kind::kAccepted) accepted.push_back(event.stream);
      if (event.kind == Kind::kClosed) stream.error = event.error;
    }
    for (auto& [id, stream] : streams) Work(StreamId{id}, &stream);
    return n;
  }

  std::unique_ptr<StreamPort> port;
  std::map<uint64_t, Stream> streams;
  std::vector<StreamId> accepted;
  bool reads = true;

 private:
  void Work(StreamId id, Stream* stream) {
    for (absl::Span<const uint8_t> in; reads && !(in = port->ReadView(id)).empty();) {
      stream->received.append(reinterpret_cast<const char*>(in.data()), in.size());
      port->Consume(id, in.size());
    }
    while (!stream->to_send.empty()) {
      const absl::Span<uint8_t> out = port->Reserve(id, stream->to_send.size());
      if (out.empty()) return;
      std::memcpy(out.data(), stream->to_send.data(), out.size());
      port->Commit(id, out.size());
      stream->to_send.erase(0, out.size());
    }
    if (stream->close_when_sent && stream->Saw(Kind::kConnected)) port->CloseWrite(id);
  }
};

class SimStreamTest : public testing::Test {
 protected:
  explicit SimStreamTest(const LinkOptions& options = {}, uint64_t seed = 1)
      : network(seed, options),
        transport(OpenTransport(&network)),
        client(transport.get(), "client"),
        server(transport.get(), "server") {
    EXPECT_TRUE(server.port->Listen(Address::Sim("server"), 16).ok());
  }
  void TestBody() override {}

  // Until `done`; false if nothing is left to happen before.
  bool RunUntil(absl::FunctionRef<bool()> done) {
    while (!done()) {
      if (client.Poll() + server.Poll() > 0) continue;
      if (done()) return true;
      if (network.NextEventNs() == INT64_MAX) return false;
      network.AdvanceTo(network.NextEventNs());
    }
    return true;
  }
  void RunToEnd() {
    EXPECT_FALSE(RunUntil([] { return false; }));
  }
  void RunFor(int64_t ns) {
    const int64_t end_ns = network.NowNs() + ns;
    network.events().At(end_ns, [] {});
    EXPECT_TRUE(RunUntil([&] { return network.NowNs() >= end_ns; }));
  }
  // A stream that both sides know.
  std::pair<StreamId, StreamId> Open() {
    const StreamId ours = client.Connect("server");
    const size_t before = server.accepted.size();
    EXPECT_TRUE(RunUntil(
        [&] { return client[ours].Saw(Kind::kConnected) && server.accepted.size() > before; }));
    return {ours, server.accepted.back()};
  }

  Network network;
  std::unique_ptr<Transport> transport;
  Host client;
  Host server;
};

std::string Noise(size_t bytes, uint64_t seed) {
  Prng prng(seed);
  std::string noise(bytes, '\0');
  for (char& c : noise) c = static_cast<char>(prng.Next());
  return noise;
}

TEST_F(SimStreamTest, CarriesBytesBothWaysAndClosesInOrder) {
  const auto [ours, theirs] = Open();
  EXPECT_EQ(client.port->PeerAddress(ours).value().ToString(), "sim:server");
  EXPECT_EQ(server.port->PeerAddress(theirs).value(), client.port->local_address());
  client[ours].to_send = "question";
  client[ours].close_when_sent = true;
  ASSERT_TRUE(RunUntil([&, id = theirs] { return server[id].Saw(Kind::kRemoteClosed); }));
  EXPECT_EQ(server[theirs].received, "question");

  server[theirs].to_send = "answer";  // half of the stream is still open
  server.Poll();
  server.port->CloseWrite(theirs);
  RunToEnd();
  EXPECT_EQ(client[ours].received, "answer");
  EXPECT_EQ(client[ours].events, (std::vector<Kind>{Kind::kConnected, Kind::kReadable,
                                                    Kind::kRemoteClosed, Kind::kClosed}));
  EXPECT_EQ(server[theirs].events, (std::vector<Kind>{Kind::kAccepted, Kind::kReadable,
                                                      Kind::kRemoteClosed, Kind::kClosed}));
  EXPECT_EQ(client[ours].error, 0);
  EXPECT_EQ(server[theirs].error, 0);
  EXPECT_EQ(client.port->stats().sent_bytes, 8u);
  EXPECT_EQ(client.port->stats().received_bytes, 6u);
}

TEST_F(SimStreamTest, CloseDeliversWhatWasCommitted) {
  const auto [ours, theirs] = Open();
  client[ours].to_send = Noise(50'000, 1);
  client.Poll();
  client.port->Close(ours);
  server[theirs].to_send = "unheard";
  ASSERT_TRUE(RunUntil([&, id = theirs] { return server[id].Saw(Kind::kRemoteClosed); }));
  EXPECT_EQ(server[theirs].received, Noise(50'000, 1));
  server.port->Close(theirs);
  RunToEnd();
  EXPECT_EQ(client[ours].error, 0);
  EXPECT_EQ(server[theirs].error, 0);
  EXPECT_EQ(client[ours].received, "");
  EXPECT_EQ(client[ours].events.back(), Kind::kClosed);
  EXPECT_EQ(server[theirs].events.back(), Kind::kClosed);
}

TEST_F(SimStreamTest, AConnectThatNobodyListensForIsRefused) {
  const StreamId no_port = client.Connect("nowhere");
  const StreamId no_listener = server.Connect("client");
  RunToEnd();
  for (const Host::Stream& stream : {client[no_port], server[no_listener]}) {
    EXPECT_EQ(stream.events, std::vector<Kind>{Kind::kClosed});
    EXPECT_EQ(stream.error, ECONNREFUSED);
  }
  EXPECT_LT(network.NowNs(), 1'000'000) << "took a timeout";
}

TEST_F(SimStreamTest, AbortResetsTheOtherSideWhichCanReadWhatHasArrived) {
  const auto [ours, theirs] = Open();
  server[theirs].to_send = "unheard";
  server.Poll();
  client[ours].to_send = "last words";
  client.Poll();
  client.port->Abort(ours);
  RunToEnd();
  EXPECT_EQ(client[ours].error, ECONNABORTED);
  EXPECT_EQ(client[ours].events.back(), Kind::kClosed);
  EXPECT_EQ(server[theirs].error, ECONNRESET);
  EXPECT_EQ(server[theirs].received, "last words");
  EXPECT_EQ(server[theirs].events,
            (std::vector<Kind>{Kind::kAccepted, Kind::kReadable, Kind::kClosed}));
}

TEST_F(SimStreamTest, AClosedPortResetsItsStreams) {
  const auto [ours, theirs] = Open();
  server.port.reset();
  ASSERT_TRUE(RunUntil([] { return true; }));
  while (network.NextEventNs() != INT64_MAX) network.AdvanceTo(network.NextEventNs());
  client.Poll();
  EXPECT_EQ(client[ours].error, ECONNRESET);
  server.port = transport->OpenStreamPort({.local = Address::Sim("server")}).value();
}

TEST_F(SimStreamTest, AReaderThatStopsStopsTheWriter) {
  const auto [ours, theirs] = Open();
  const std::string data = Noise(1'000'000, 2);
  server.reads = false;
  client[ours].to_send = data;
  RunFor(1'000'000'000);
  const size_t under_way = data.size() - client[ours].to_send.size();
  EXPECT_EQ(under_way, 2u * 64 * 1024);  // one window at each end
  EXPECT_TRUE(client.port->Reserve(ours, 1).empty());
  RunFor(600'000'000'000);  // no timeout: a side without room answers probes
  server.reads = true;
  ASSERT_TRUE(RunUntil([&, id = theirs] { return server[id].received.size() == data.size(); }));
  EXPECT_EQ(server[theirs].received, data);
  EXPECT_TRUE(client[ours].Saw(Kind::kWritable));
  EXPECT_FALSE(client[ours].Saw(Kind::kClosed));
}

TEST_F(SimStreamTest, APartitionThatHealsDelaysOnly) {
  const auto [ours, theirs] = Open();
  ASSERT_TRUE(network.Partition({{network.AddNode("server").value()}}).ok());
  client[ours].to_send = "patience";
  RunFor(60'000'000'000);
  EXPECT_EQ(server[theirs].received, "");
  network.Heal();
  ASSERT_TRUE(RunUntil([&, id = theirs] { return server[id].received == "patience"; }));
  EXPECT_FALSE(client[ours].Saw(Kind::kClosed));
}

TEST_F(SimStreamTest, APartitionThatLastsTimesOut) {
  const auto [ours, theirs] = Open();
  ASSERT_TRUE(network.Partition({{network.AddNode("server").value()}}).ok());
  client[ours].to_send = "in vain";
  const StreamId second = client.Connect("server");
  RunToEnd();
  EXPECT_EQ(client[ours].error, ETIMEDOUT);
  EXPECT_EQ(client[second].error, ETIMEDOUT);
  EXPECT_FALSE(server[theirs].Saw(Kind::kClosed)) << "a side that has nothing to send cannot know";
  EXPECT_LT(network.NowNs(), 300'000'000'000);
}

TEST_F(SimStreamTest, AFullBacklogDelaysConnects) {
  std::vector<StreamId> streams;
  for (int i = 0; i < 40; ++i) streams.push_back(client.Connect("server"));  // the backlog is 16
  for (int i = 0; i < 100; ++i) {
    if (network.NextEventNs() > 100'000'000) break;
    network.AdvanceTo(network.NextEventNs());
  }
  ASSERT_TRUE(RunUntil([&] {
    return std::all_of(streams.begin(), streams.end(),
                       [&](StreamId id) { return client[id].Saw(Kind::kConnected); });
  }));
  EXPECT_EQ(server.accepted.size(), 40u);
  EXPECT_EQ(server.port->stats().receive_dropped, 24u);
}

TEST_F(SimStreamTest, WhatIsNoSegmentIsCountedAndUnknownStreamsAreHarmless) {
  const NodeId from = network.AddNode("client").value(), to = network.AddNode("server").value();
  const std::string noise = Noise(200, 3);
  for (size_t n = 0; n < noise.size(); ++n) {
    network.Send(from, to, Channel::kStreams, 0, 0,
                 absl::Span<const uint8_t>(reinterpret_cast<const uint8_t*>(noise.data()), n));
  }
  RunToEnd();
  EXPECT_EQ(server.port->stats().receive_malformed, noise.size());

  const StreamId unknown{12345};
  EXPECT_TRUE(client.port->ReadView(unknown).empty());
  EXPECT_TRUE(client.port->Reserve(unknown, 10).empty());
  client.port->Consume(unknown, 10);
  client.port->Commit(unknown, 10);
  client.port->CloseWrite(unknown);
  client.port->Close(unknown);
  client.port->Abort(unknown);
  EXPECT_EQ(client.port->PeerAddress(unknown).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(SimStreamTest, RefusesWrongAddresses) {
  EXPECT_EQ(server.port->Listen(Address::Sim("server"), 1).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(client.port->Listen(Address::Sim("server"), 1).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(client.port->Listen(Address::Sim("x"), 0).status().code(),
            absl::StatusCode::kInvalidArgument);
  const Address ip = Address::Parse("127.0.0.1:1").value();
  EXPECT_EQ(client.port->Listen(ip, 1).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(client.port->Connect(ip).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(client.port->Listen(Address::Sim("x"), 1).value().ToString(), "sim:x");
}

// One run over a bad network: 200 KB each way, checked; returns the digest.
class BadNetwork : public SimStreamTest {
 public:
  BadNetwork(const LinkOptions& options, uint64_t seed) : SimStreamTest(options, seed) {}

  uint64_t Run(uint64_t seed) {
    const std::string there = Noise(200'000, seed), back = Noise(200'000, seed + 1000);
    const StreamId ours = client.Connect("server");
    client[ours].to_send = there;
    client[ours].close_when_sent = true;
    const auto accepted = [&] { return !server.accepted.empty(); };
    EXPECT_TRUE(RunUntil(accepted));
    const StreamId theirs = server.accepted.front();
    server[theirs].to_send = back;
    EXPECT_TRUE(RunUntil(
        [&] { return server[theirs].Saw(Kind::kRemoteClosed) && server[theirs].to_send.empty(); }));
    server.port->CloseWrite(theirs);
    RunToEnd();
    EXPECT_TRUE(server[theirs].received == there);
    EXPECT_TRUE(client[ours].received == back);
    EXPECT_EQ(client[ours].events.back(), Kind::kClosed);
    EXPECT_EQ(server[theirs].events.back(), Kind::kClosed);
    EXPECT_EQ(client[ours].error, 0);
    EXPECT_EQ(server[theirs].error, 0);
    return network.digest();
  }
};

TEST(SimStreamStormTest, BytesSurviveABadNetworkReproducibly) {
  const LinkOptions bad = {.latency_ns = 20'000,
                           .jitter_ns = 5'000,
                           .bandwidth_bps = 1'000'000'000,
                           .queue_packets = 32,
                           .loss = 0.03,
                           .duplicate = 0.03,
                           .reorder = 0.03,
                           .corrupt = 0.03};
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(seed);
    const uint64_t digest = BadNetwork(bad, seed).Run(seed);
    if (seed <= 10) {
      EXPECT_EQ(BadNetwork(bad, seed).Run(seed), digest);
    }
    if (HasFailure()) return;
  }
}

TEST(SimStreamStormTest, BytesSurviveOneImpairmentAtATime) {
  std::vector<LinkOptions> each(6);
  each[0].loss = 0.3;
  each[1].duplicate = 0.9;
  each[2].reorder = 0.5;
  each[3].corrupt = 0.3;
  each[4].latency_ns = 60'000'000'000;  // the longest that a configuration may ask for
  each[5].bandwidth_bps = 1'000'000;
  each[5].queue_packets = 2;
  for (size_t i = 0; i < each.size(); ++i) {
    SCOPED_TRACE(i);
    BadNetwork(each[i], i).Run(i);
  }
}

}  // namespace
}  // namespace weft::sim
