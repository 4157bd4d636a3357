// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/transport.h"

#include <utility>

#include "absl/container/flat_hash_set.h"
#include "gtest/gtest.h"

namespace weft {
namespace {

class EmptyTransport : public Transport {
 public:
  explicit EmptyTransport(const Capabilities& capabilities) : capabilities_(capabilities) {}
  absl::string_view name() const override { return "empty"; }
  const Capabilities& capabilities() const override { return capabilities_; }

 private:
  Capabilities capabilities_;
};

TEST(TransportTest, MissingContractsAreErrorsThatNameTheOthers) {
  EmptyTransport transport({.streams = true, .frames = true});
  EXPECT_EQ(
      transport.OpenDatagramPort({}).status(),
      absl::UnimplementedError("transport 'empty' has no datagrams; it offers streams, frames; for "
                               "datagrams over them, give the configuration a network stack: "
                               "`netstack { addresses: \"10.0.0.2/24\" }`"));

  EXPECT_EQ(EmptyTransport({.frames = true}).OpenStreamPort({}).status(),
            absl::UnimplementedError(
                "transport 'empty' has no streams; it offers frames; for streams over "
                "them, give the configuration a network stack: "
                "`netstack { addresses: \"10.0.0.2/24\" }`"));

  EmptyTransport nothing({});
  EXPECT_EQ(nothing.OpenStreamPort({}).status(),
            absl::UnimplementedError("transport 'empty' has no streams; it offers nothing"));
  EXPECT_EQ(nothing.OpenFramePort({}).status(),
            absl::UnimplementedError("transport 'empty' has no frames; it offers nothing"));
}

TEST(TransportTest, RunsInRealTimeUnlessItSaysOtherwise) {
  EXPECT_EQ(EmptyTransport({}).virtual_time(), nullptr);
}

TEST(TransportTest, ContractNames) {
  EXPECT_EQ(ContractNames({}), "nothing");
  EXPECT_EQ(ContractNames({.datagrams = true}), "datagrams");
  EXPECT_EQ(ContractNames({.datagrams = true, .streams = true, .frames = true}),
            "datagrams, streams, frames");
}

// A port whose state the test moves.
class ScriptedPort : public FramePort {
 public:
  ScriptedPort() : FramePort(Capabilities{.frames = true}, BufferPoolOptions{.count = 4}) {}
  explicit ScriptedPort(ScriptedPort& inner)
      : FramePort(Capabilities{.frames = true, .max_burst = 7}, inner), inner_(&inner) {}

  Address local_address() const override { return {}; }
  MacAddress mac() const override { return {}; }
  bool link_up() const override { return true; }
  size_t Send(absl::Span<Buffer> burst) override { return burst.size(); }
  size_t Receive(absl::Span<Buffer>) override { return 0; }

  void AddEvent(const PortEvent& event) {
    event_ = event;
    has_events_ = true;
  }
  void Die() { status_ = absl::UnavailableError("unplugged"); }
  void CountSent() { ++stats_.sent; }
  int asked() const { return asked_; }

 private:
  size_t DoTakeEvents(absl::Span<PortEvent> events) override {
    if (inner_ != nullptr) return inner_->TakeEvents(events);
    ++asked_;
    has_events_ = false;
    events[0] = event_;
    return 1;
  }

  ScriptedPort* inner_ = nullptr;
  PortEvent event_{};
  int asked_ = 0;
};

TEST(PortTest, EventsAreAskedForOnlyWhenThereAreSome) {
  ScriptedPort port;
  PortEvent events[2];
  EXPECT_EQ(port.TakeEvents(absl::MakeSpan(events)), 0u);
  EXPECT_EQ(port.asked(), 0);
  port.AddEvent({PortEvent::Kind::kPeerClosed, Peer{{1, 2, 3}}});
  EXPECT_EQ(port.TakeEvents(absl::MakeSpan(events)), 1u);
  EXPECT_EQ(events[0].peer, (Peer{{1, 2, 3}}));
  EXPECT_EQ(port.TakeEvents(absl::MakeSpan(events)), 0u);
  EXPECT_EQ(port.asked(), 1);
}

TEST(PortTest, DecoratorShowsTheStateOfThePortBelow) {
  ScriptedPort inner;
  ScriptedPort middle(inner);
  ScriptedPort outer(middle);

  EXPECT_EQ(&outer.pool(), &inner.pool());
  EXPECT_EQ(outer.capabilities().max_burst, 7u);
  inner.CountSent();
  EXPECT_EQ(outer.stats().sent, 1u);

  PortEvent events[2];
  EXPECT_EQ(outer.TakeEvents(absl::MakeSpan(events)), 0u);
  inner.AddEvent({PortEvent::Kind::kPeerUnreachable, Peer{{4, 5, 6}}});
  EXPECT_EQ(outer.TakeEvents(absl::MakeSpan(events)), 1u);
  EXPECT_EQ(events[0].peer, (Peer{{4, 5, 6}}));
  EXPECT_EQ(outer.TakeEvents(absl::MakeSpan(events)), 0u);

  EXPECT_TRUE(outer.status().ok());
  inner.Die();
  EXPECT_EQ(outer.status(), absl::UnavailableError("unplugged"));
}

TEST(PeerTest, ZeroIsNobodyAndOthersDiffer) {
  EXPECT_FALSE(Peer{});
  absl::flat_hash_set<Peer> peers;
  for (uint64_t word = 0; word < 3; ++word) {
    Peer peer;
    peer.words[word] = 1;
    EXPECT_TRUE(peer);
    EXPECT_TRUE(peers.insert(peer).second);
    EXPECT_TRUE(peers.contains(peer));
  }
  EXPECT_FALSE(peers.contains(Peer{}));
}

}  // namespace
}  // namespace weft
