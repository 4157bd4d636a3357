// SPDX-License-Identifier: Apache-2.0
//
// What datagram_port.h promises of datagrams that are sent on under the address of their first
// sender.
#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "weft/transports/conformance/datagram_conformance.h"

namespace weft {
namespace {

// A client, one who sends on what he gets, and a server that answers whom it has it from.
class DatagramForwardConformance : public DatagramTest {
 protected:
  bool keeps_source() { return transport().capabilities().keeps_foreign_source; }

  void SetUp() override {
    DatagramTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    if (max_ends() < 3) GTEST_SKIP() << "there are only two ends";
    if (!keeps_source()) GTEST_SKIP() << "does not keep the source";
    Open();
  }

  void Open() {
    client_ = OpenPort(0);
    router_ = OpenPort(1);
    server_ = OpenPort(2);
    // So that everybody knows his neighbours.
    ExpectTheyTalk(*client_, *router_);
    ExpectTheyTalk(*router_, *server_);
    ExpectTheyTalk(*client_, *server_);
  }

  // What the router gets of `text`; it is to go to the server.
  Datagram Arrived(const std::string& text, Peer* source) {
    EXPECT_TRUE(Send(*client_, PeerAt(*client_, *router_), text));
    Datagram datagram = Receive(*router_);
    EXPECT_TRUE(datagram.buffer) << text.size() << " bytes did not arrive";
    *source = std::exchange(datagram.peer, PeerAt(*router_, *server_));
    return datagram;
  }

  // Sends all of it on, in as many calls as that takes.
  bool ForwardAll(absl::Span<Datagram> burst, absl::Span<const Peer> sources) {
    return Until([&] {
      const size_t n = router_->Forward(burst, sources);
      burst.remove_prefix(n);
      sources.remove_prefix(n);
      return burst.empty();
    });
  }

  std::unique_ptr<DatagramPort> client_;
  std::unique_ptr<DatagramPort> router_;
  std::unique_ptr<DatagramPort> server_;
};

INSTANTIATE_TEST_SUITE_P(Datagrams, DatagramForwardConformance,
                         testing::ValuesIn(AdaptersWith(&Capabilities::datagrams)), AdapterName);

TEST_P(DatagramForwardConformance, EverySizeArrivesAndIsAnsweredPastTheRouter) {
  for (const size_t size : {size_t{0}, size_t{1}, size_t{8}, size_t{63}, size_t{64}, size_t{1000},
                            max_payload() - 1, max_payload()}) {
    const std::string text = RandomBytes(size, size);
    Peer source;
    Datagram burst[] = {Arrived(text, &source)};
    ASSERT_TRUE(burst[0].buffer);
    ASSERT_TRUE(ForwardAll(absl::MakeSpan(burst), {&source, 1}));
    EXPECT_FALSE(burst[0].buffer);
    Datagram got[] = {Receive(*server_)};
    ASSERT_TRUE(got[0].buffer) << size << " bytes did not arrive";
    EXPECT_EQ(TextOf(got[0].buffer), text);
    EXPECT_EQ(*server_->AddressOf(got[0].peer), client_->local_address());
    EXPECT_EQ(got[0].peer, PeerAt(*server_, *client_));
    ASSERT_TRUE(Until([&] { return server_->Send(absl::MakeSpan(got)) == 1; }));
    const Datagram answer = Receive(*client_);
    ASSERT_TRUE(answer.buffer);
    EXPECT_EQ(TextOf(answer.buffer), text);
    EXPECT_EQ(answer.peer, PeerAt(*client_, *server_));
  }
  EXPECT_EQ(router_->stats().send_failed, 0u);
  Datagram nothing[1];
  EXPECT_EQ(router_->Receive(absl::MakeSpan(nothing)), 0u);
}

TEST_P(DatagramForwardConformance, LongBurstsKeepTheSourceOfEach) {
  auto second = transport(0).OpenDatagramPort({});
  ASSERT_TRUE(second.ok()) << second.status();
  const size_t n = 2 * transport().capabilities().max_burst + 1;
  std::vector<Datagram> burst;
  std::vector<Peer> sources;
  const Peer to = PeerAt(*router_, *server_);
  for (size_t i = 0; i < n; ++i) {
    DatagramPort& from = i % 3 == 0 ? **second : *client_;
    ASSERT_TRUE(Send(from, PeerAt(from, *router_), absl::StrCat(i)));
    Datagram datagram = Receive(*router_);
    ASSERT_TRUE(datagram.buffer);
    sources.push_back(std::exchange(datagram.peer, to));
    burst.push_back(std::move(datagram));
  }
  ASSERT_TRUE(ForwardAll(absl::MakeSpan(burst), sources));
  const uint16_t second_port = (*second)->local_address().port();
  std::vector<std::string> got;
  for (size_t i = 0; i < n; ++i) {
    const Datagram datagram = Receive(*server_);
    ASSERT_TRUE(datagram.buffer) << i << " of " << n;
    got.push_back(TextOf(datagram.buffer));
    const Address from = *server_->AddressOf(datagram.peer);
    const bool from_second = std::stoul(got.back()) % 3 == 0;
    if (!from_second) {
      EXPECT_EQ(from, client_->local_address());
    } else if (from.is_ip()) {  // one that is bound to no address has none to compare
      EXPECT_EQ(from.port(), second_port);
    } else {
      EXPECT_EQ(from, (*second)->local_address());
    }
  }
  std::vector<std::string> expected;
  for (size_t i = 0; i < n; ++i) expected.push_back(absl::StrCat(i));
  if (!transport().capabilities().ordered) {
    std::sort(got.begin(), got.end());
    std::sort(expected.begin(), expected.end());
  }
  EXPECT_EQ(got, expected);
  EXPECT_EQ(router_->Forward({}, {}), 0u);
}

TEST_P(DatagramForwardConformance, BuffersOfAnyOriginAndShapeAreSentOn) {
  BufferPool foreign({.count = 1, .bytes = 256, .headroom = 0});
  Peer source;
  const Peer to = PeerAt(*router_, *server_);
  std::vector<Datagram> burst;
  burst.push_back(Arrived("as it was", &source));
  burst.push_back(Arrived("trimmed", &source));
  burst.back().buffer.TrimFront(4);
  burst.push_back(Arrived("grown", &source));
  std::memcpy(burst.back().buffer.Append(5), " more", 5);
  burst.push_back(Arrived("xhanged", &source));
  burst.back().buffer.data()[0] = 'c';
  burst.back().buffer.offload() = {};
  burst.push_back(Message(router_->pool(), to, "own"));
  burst.push_back(Message(foreign, to, "foreign pool"));
  const std::vector<Peer> sources(burst.size(), source);
  ASSERT_TRUE(ForwardAll(absl::MakeSpan(burst), sources));
  std::vector<std::string> got;
  for (size_t i = 0; i < burst.size(); ++i) {
    const Datagram datagram = Receive(*server_);
    ASSERT_TRUE(datagram.buffer);
    EXPECT_EQ(datagram.peer, PeerAt(*server_, *client_));
    got.push_back(TextOf(datagram.buffer));
  }
  std::sort(got.begin(), got.end());
  EXPECT_EQ(got, (std::vector<std::string>{"as it was", "changed", "foreign pool", "grown more",
                                           "med", "own"}));
}

// What a full port does not take stays as it was, and can be sent on later.
TEST_P(DatagramForwardConformance, WhatIsNotAcceptedStaysTheCallers) {
  client_.reset();
  router_.reset();
  server_.reset();
  ReopenWithBuffers(512);
  Open();
  Peer source;
  std::vector<Datagram> burst;
  const std::string text = RandomBytes(std::min<size_t>(max_payload(), 1000), 1);
  size_t accepted = 0;
  const uint64_t before = router_->stats().sent + router_->stats().send_failed;
  for (int round = 0; round < 100; ++round) {
    while (burst.size() < 8) {
      burst.push_back(Arrived(text, &source));
      ASSERT_TRUE(burst.back().buffer);
    }
    const size_t n = router_->Forward(absl::MakeSpan(burst), std::vector<Peer>(8, source));
    ASSERT_LE(n, burst.size());
    for (size_t i = 0; i < burst.size(); ++i) {
      ASSERT_EQ(static_cast<bool>(burst[i].buffer), i >= n);
      if (i >= n) {
        ASSERT_EQ(TextOf(burst[i].buffer), text);
      }
    }
    burst.erase(burst.begin(), burst.begin() + static_cast<ptrdiff_t>(n));
    accepted += n;
  }
  burst.clear();
  EXPECT_GT(accepted, 0u);
  EXPECT_EQ(accepted, router_->stats().sent + router_->stats().send_failed - before);
  const Datagram got = Receive(*server_);
  ASSERT_TRUE(got.buffer);
  EXPECT_EQ(TextOf(got.buffer), text);
}

TEST_P(DatagramForwardConformance, WhatCanNeverBeSentOnIsDroppedAndCounted) {
  BufferPool large({.count = 1, .bytes = max_payload() + 4096});
  const Peer to = PeerAt(*router_, *server_);
  const Peer source = PeerAt(*router_, *client_);
  const uint64_t sent = router_->stats().sent;
  std::vector<Datagram> burst;
  burst.push_back(Message(router_->pool(), to, "first"));
  burst.push_back(Message(router_->pool(), to, "from nobody"));
  burst.push_back(Message(router_->pool(), Peer{}, "to nobody"));
  burst.push_back({to, Buffer()});
  burst.push_back(Message(large, to, std::string(max_payload() + 1, 'x')));
  burst.push_back(Message(router_->pool(), to, "last"));
  std::vector<Peer> sources(burst.size(), source);
  sources[1] = Peer{};
  ASSERT_TRUE(ForwardAll(absl::MakeSpan(burst), sources));
  for (const Datagram& d : burst) EXPECT_FALSE(d.buffer);
  EXPECT_EQ(router_->stats().send_failed, 4u);
  EXPECT_EQ(router_->stats().sent, sent + 2);
  const Datagram first = Receive(*server_);
  const Datagram last = Receive(*server_);
  ASSERT_TRUE(first.buffer && last.buffer);
  EXPECT_EQ(first.buffer.size() + last.buffer.size(), 9u);
}

class DatagramWithoutForwardConformance : public DatagramTest {};

INSTANTIATE_TEST_SUITE_P(Datagrams, DatagramWithoutForwardConformance,
                         testing::ValuesIn(AdaptersWith(&Capabilities::datagrams)), AdapterName);

TEST_P(DatagramWithoutForwardConformance, PortsThatDoNotKeepTheSourceDropAndCount) {
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  EXPECT_EQ(a->capabilities().keeps_foreign_source,
            transport().capabilities().keeps_foreign_source);
  if (a->capabilities().keeps_foreign_source) GTEST_SKIP() << "keeps the source";
  const Peer to = PeerAt(*a, *b);
  const std::vector<Peer> sources(3, to);
  Datagram burst[] = {Message(a->pool(), to, "one"), {to, Buffer()}, Message(a->pool(), to, "two")};
  EXPECT_EQ(a->Forward(absl::MakeSpan(burst), sources), 3u);
  for (const Datagram& d : burst) EXPECT_FALSE(d.buffer);
  EXPECT_EQ(a->stats().send_failed, 3u);
  EXPECT_EQ(a->stats().sent, 0u);
  ExpectTheyTalk(*a, *b);
}

}  // namespace
}  // namespace weft
