// SPDX-License-Identifier: Apache-2.0
//
// Streams over a simulated network that does not behave: every byte arrives once and in order, in
// both directions, whatever is lost, doubled, overtaken or damaged below. A weather and a seed fix
// everything that happens:
//
//   bazel test //rpc/service:stream_simulation_test
//   bazel run //rpc/service:stream_simulation_test -- 1 4711   one seed of each weather, 4711
#include <algorithm>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/prng.h"
#include "weft/rpc/service/stream_fixture.h"
#include "weft/transports/sim/seeds.h"

namespace weft::rpc {
namespace {

constexpr uint64_t kSeeds = 8;

constexpr size_t kStreams = 6;

struct Weather {
  const char* name;
  sim::LinkOptions link;
  bool drops = false;      // some streams are given up by their client
  bool partition = false;  // the client is cut off for longer than a session lives
  bool damaged() const { return link.corrupt > 0; }
};

std::vector<Weather> Weathers() {
  return {
      {.name = "fair", .link = {.latency_ns = 5000}},
      {.name = "loss", .link = {.latency_ns = 5000, .loss = 0.05}},
      {.name = "heavy loss", .link = {.latency_ns = 5000, .jitter_ns = 3000, .loss = 0.2}},
      {.name = "disorder",
       .link = {.latency_ns = 5000, .jitter_ns = 20'000, .duplicate = 0.2, .reorder = 0.3}},
      {.name = "narrow wires",
       .link = {.latency_ns = 50'000, .bandwidth_bps = 100'000'000, .queue_packets = 20}},
      {.name = "all of it, with streams that are dropped",
       .link = {.latency_ns = 8000, .loss = 0.03, .duplicate = 0.05, .reorder = 0.1},
       .drops = true},
      {.name = "damage", .link = {.latency_ns = 5000, .loss = 0.01, .corrupt = 0.05}},
      {.name = "partition", .link = {.latency_ns = 5000, .loss = 0.02}, .partition = true},
  };
}

// Message `i` of a sequence that a seed fixes.
std::string Text(uint64_t seed, uint64_t i) {
  Prng random(seed * 1'000'003 + i);
  constexpr size_t kMax[] = {1, 20, 100, 1000, 3000, 30'000};
  const size_t most = random.Chance(0.9) ? 100 : kMax[random.Below(std::size(kMax))];
  std::string text(random.Below(most + 1), '\0');
  for (char& c : text) c = static_cast<char>(random.Next());
  return text;
}

struct Side {
  uint64_t written = 0;
  uint64_t read = 0;
  bool ended = false;
};

struct Conversation {
  uint64_t up = 0;  // seed and number of the client's messages
  uint64_t up_count = 0;
  uint64_t down = 0;  // and of the server's
  uint64_t down_count = 0;
  bool dropped = false;
  Side client = {};
  Side server = {};
  absl::Status status = absl::UnknownError("not ended");
};

class SimulatedStreams {
 public:
  SimulatedStreams(const Weather& weather, uint64_t seed)
      : weather_(weather), random_(seed), pair_(Options(weather, seed)) {
    pair_.serve = [this](ServerStream& stream, ServerCall& call) {
      return Serve(*this, stream, call);
    };
  }

  uint64_t Go() {
    conversations_.resize(kStreams);
    TaskGroup tasks;
    for (Conversation& conversation : conversations_) {
      conversation = {.up = random_.Next(),
                      .up_count = random_.Below(400),
                      .down = random_.Next(),
                      .down_count = random_.Below(400),
                      .dropped = weather_.drops && random_.Chance(0.4)};
      tasks.Spawn(Talk(*this, conversation));
    }
    if (weather_.partition) SchedulePartition();
    const int64_t end_ns = pair_.network().NowNs() + 60'000'000'000;
    // After damage a conversation may have nothing more to say to each other.
    const bool ended = pair_.RunUntil([&] { return tasks.size() == 0; }, end_ns);
    EXPECT_TRUE(ended || weather_.damaged());
    tasks.Cancel();
    pair_.RunFor(10'000'000'000);
    Check();
    return pair_.network().digest();
  }

 private:
  static StreamPairOptions Options(const Weather& weather, uint64_t seed) {
    StreamPairOptions options;
    options.link = weather.link;
    options.seed = seed;
    options.server.session.timeout = options.client.session.timeout =
        weather.partition ? absl::Milliseconds(200) : absl::Seconds(2);
    options.server.session.rto_max = options.client.session.rto_max = absl::Milliseconds(20);
    if (seed % 3 == 0) options.server_streams.window = 4;
    if (seed % 3 == 1) options.server.session.slots = 24;
    return options;
  }

  template <typename Stream>
  static Task<void> ReadMessages(SimulatedStreams& self, Stream& stream, uint64_t seed,
                                 Side* side) {
    BufferChain message;
    while (co_await ReadFrom(stream, &message)) {
      if (!self.weather_.damaged()) {
        EXPECT_TRUE(message.ToString() == Text(seed, side->read)) << "message " << side->read;
      }
      ++side->read;
      message.Clear();
      if (side->read % 50 == 0) co_await self.pair_.loop().Sleep(absl::Microseconds(300));
    }
    side->ended = true;
  }
  template <typename Stream>
  static Task<void> WriteMessages(SimulatedStreams& self, Stream& stream, uint64_t seed,
                                  uint64_t count, Side* side) {
    while (side->written < count) {
      const Payload message = Bytes(Text(seed, side->written));
      if (!co_await WriteTo(stream, message)) break;
      if (++side->written % 70 == 0) co_await self.pair_.loop().Sleep(absl::Microseconds(200));
    }
  }

  // The body of the OPEN says which conversation it is.
  static Task<absl::Status> Serve(SimulatedStreams& self, ServerStream& stream, ServerCall& call) {
    const std::string body = call.request().ToString();
    const size_t index = body.empty() ? kStreams : static_cast<uint8_t>(body[0]);
    if (index >= self.conversations_.size()) co_return absl::InvalidArgumentError("damaged");
    Conversation& conversation = self.conversations_[index];
    TaskGroup reader;
    reader.Spawn(ReadMessages(self, stream, conversation.up, &conversation.server));
    co_await WriteMessages(self, stream, conversation.down, conversation.down_count,
                           &conversation.server);
    while (reader.size() > 0) co_await self.pair_.loop().Sleep(absl::Microseconds(100));
    co_return absl::OkStatus();
  }

  static Task<void> Talk(SimulatedStreams& self, Conversation& conversation) {
    ClientStream stream(self.pair_.streams(), {.reads = true, .writes = true});
    EXPECT_TRUE(stream.status().ok()) << stream.status();
    std::array<uint8_t, kRequestHeadBytesMax + 1> open;
    const size_t size =
        WriteRequestHead({.kind = RequestKind::kOpen, .id = 1, .number = stream.id()}, open.data());
    open[size] = static_cast<uint8_t>(&conversation - self.conversations_.data());
    stream.Start(Payload::Copy({open.data(), size + 1}), {});
    TaskGroup writer;
    writer.Spawn(WriteAndClose(self, stream, conversation));
    if (conversation.dropped) {
      const auto after_us = static_cast<int64_t>(self.random_.Below(5000));
      co_await self.pair_.loop().Sleep(absl::Microseconds(after_us));
      co_return;
    }
    co_await ReadMessages(self, stream, conversation.down, &conversation.client);
    conversation.status = StreamPair::StatusOf(co_await stream.End());
  }
  static Task<void> WriteAndClose(SimulatedStreams& self, ClientStream& stream,
                                  Conversation& conversation) {
    co_await WriteMessages(self, stream, conversation.up, conversation.up_count,
                           &conversation.client);
    stream.state().Close();
  }

  void SchedulePartition() {
    sim::Network& network = pair_.network();
    network.events().At(network.NowNs() + 3'000'000, [&network] {
      const std::vector<sim::NodeId> alone = {*network.AddNode("c")};
      EXPECT_TRUE(network.Partition({alone}).ok());
    });
    network.events().At(network.NowNs() + 1'000'000'000, [&network] { network.Heal(); });
  }

  void Check() {
    for (const Conversation& c : conversations_) {
      if (c.dropped || weather_.damaged()) continue;
      if (weather_.partition && !c.status.ok()) continue;
      EXPECT_TRUE(c.status.ok()) << c.status;
      EXPECT_EQ(c.server.read, c.up_count);
      EXPECT_EQ(c.client.read, c.down_count);
      EXPECT_TRUE(c.server.ended);
    }
    EXPECT_EQ(pair_.streams().size(), 0u);
    EXPECT_EQ(pair_.client().outstanding(), 0u);
    EXPECT_EQ(pair_.client().port().pool().available(), pair_.client().port().pool().count());
    // A damaged OPEN is a stream that nobody knows of; it ends with its session.
    pair_.EndClient();
    pair_.RunFor(10'000'000'000);
    EXPECT_EQ(pair_.server_streams().size(), 0u);
    EXPECT_EQ(pair_.server().stats().parked.value(), 0);
    EXPECT_EQ(pair_.server().stats().executing.value(), 0);
    EXPECT_EQ(pair_.server().port().pool().available(), pair_.server().port().pool().count());
  }

  const Weather weather_;
  Prng random_;
  std::vector<Conversation> conversations_;
  StreamPair pair_;
};

TEST(StreamSimulationTest, EveryByteArrivesOnceAndInOrder) {
  for (const Weather& weather : Weathers()) {
    for (const uint64_t seed : sim::SeedsToRun(kSeeds)) {
      SCOPED_TRACE(absl::StrCat(weather.name, ", seed ", seed));
      SimulatedStreams(weather, seed).Go();
      if (HasFailure()) return;
    }
  }
}

TEST(StreamSimulationTest, TheSameSeedIsTheSameRun) {
  const uint64_t seed = sim::SeedsToRun(kSeeds).front();
  for (const Weather& weather : Weathers()) {
    const uint64_t once = SimulatedStreams(weather, seed).Go();
    EXPECT_EQ(SimulatedStreams(weather, seed).Go(), once) << weather.name;
    EXPECT_NE(SimulatedStreams(weather, seed + 1).Go(), once) << weather.name;
  }
}

}  // namespace
}  // namespace weft::rpc
