// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/incoming_requests.h"

#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace weft::rpc {
namespace {

using BeginResult = IncomingRequests::BeginResult;
using Result = IncomingRequests::Result;

class IncomingRequestsTest : public testing::Test {
 protected:
  static Peer Client(uint64_t n) { return {{n, 0, 1}}; }
  BeginResult Begin(uint64_t client, uint16_t id, int64_t now_ns, uint16_t total = 3) {
    return requests_.Begin(Client(client), {.first = true, .request_id = id, .packet_order = total},
                           pool_.Allocate(), now_ns);
  }
  // False if the request is not known.
  bool Add(uint64_t client, uint16_t id, int64_t now_ns, uint16_t index, bool last) {
    const Header header{.last = last, .request_id = id, .packet_order = index};
    return requests_.Add(Client(client), header, pool_.Allocate(), now_ns, &result_, &first_,
                         &message_);
  }

  BufferPool pool_{{.count = 64, .bytes = 64, .headroom = 8}};
  std::vector<std::pair<uint64_t, uint16_t>> given_up_;  // clients and request ids
  IncomingRequests requests_{
      {.packets_max = 8, .requests_max = 4, .requests_per_peer_max = 2, .buffers_max = 6},
      [this](const Peer& client, uint16_t id) { given_up_.emplace_back(client.words[0], id); }};
  Result result_;
  Header first_;
  BufferChain message_;
};

TEST_F(IncomingRequestsTest, RequestsOfSeveralClientsComplete) {
  EXPECT_EQ(Begin(1, 7, 0), BeginResult::kBegun);
  EXPECT_EQ(Begin(2, 7, 0), BeginResult::kBegun);
  EXPECT_EQ(Begin(1, 7, 0), BeginResult::kAgain);
  EXPECT_TRUE(Add(1, 7, 1, 2, true));
  EXPECT_EQ(result_, Result::kIncomplete);
  EXPECT_TRUE(Add(1, 7, 2, 1, false));
  EXPECT_EQ(result_, Result::kComplete);
  EXPECT_EQ(message_.pieces(), 3u);
  EXPECT_EQ(first_.packet_order, 3);
  EXPECT_EQ(requests_.size(), 1u);
  EXPECT_FALSE(Add(1, 7, 3, 1, false)) << "a late duplicate finds nothing";
  EXPECT_FALSE(Add(1, 8, 3, 1, false));
}

TEST_F(IncomingRequestsTest, AClientHasItsShareAndNoMore) {
  EXPECT_EQ(Begin(1, 1, 0), BeginResult::kBegun);
  EXPECT_EQ(Begin(1, 2, 0), BeginResult::kBegun);
  EXPECT_EQ(Begin(1, 3, 0), BeginResult::kTooMany);
  EXPECT_EQ(Begin(2, 3, 0), BeginResult::kBegun);
  requests_.Forget(Client(1));
  EXPECT_EQ(requests_.size(), 1u);
  EXPECT_EQ(Begin(1, 3, 0), BeginResult::kBegun);
}

TEST_F(IncomingRequestsTest, TheStalestGivesWay) {
  for (uint64_t client = 1; client <= 4; ++client) Begin(client, 1, static_cast<int64_t>(client));
  EXPECT_TRUE(Add(1, 1, 10, 1, false));  // the oldest makes progress: now 2 is the stalest
  EXPECT_EQ(Begin(5, 1, 11), BeginResult::kBegun);
  EXPECT_EQ(requests_.evicted(), 1u);
  EXPECT_FALSE(Add(2, 1, 12, 1, false));
  EXPECT_TRUE(Add(1, 1, 12, 2, true));
  EXPECT_EQ(result_, Result::kComplete);
}

TEST_F(IncomingRequestsTest, BuffersAreBounded) {
  Begin(1, 1, 0, 6);
  Begin(2, 1, 1, 6);
  Begin(3, 1, 2, 6);
  for (uint16_t i = 1; i <= 3; ++i) EXPECT_TRUE(Add(3, 1, 3, i, false));
  EXPECT_EQ(requests_.size(), 3u);
  EXPECT_TRUE(Add(3, 1, 4, 4, false));  // the seventh buffer
  EXPECT_EQ(requests_.size(), 2u);
  EXPECT_FALSE(Add(1, 1, 4, 1, false));
  EXPECT_EQ(pool_.available(), pool_.count() - 6);
}

TEST_F(IncomingRequestsTest, OneThatCouldNeverBeHeldDoesNotBegin) {
  EXPECT_EQ(Begin(1, 1, 0, 7), BeginResult::kTooLong);
  EXPECT_EQ(requests_.size(), 0u);
  EXPECT_EQ(Begin(1, 1, 0, 6), BeginResult::kBegun);
  EXPECT_EQ(Begin(2, 1, 1), BeginResult::kBegun);
  EXPECT_EQ(Begin(2, 2, 1, 8), BeginResult::kTooLong);
  EXPECT_TRUE(given_up_.empty());
}

TEST_F(IncomingRequestsTest, WhatMakesNoProgressExpires) {
  Begin(1, 1, 100);
  Begin(2, 1, 200);
  EXPECT_EQ(requests_.oldest_progress_ns(), 100);
  EXPECT_EQ(requests_.Expire(100), 0u);
  EXPECT_EQ(requests_.Expire(101), 1u);
  EXPECT_TRUE(Add(2, 1, 300, 1, false));
  EXPECT_EQ(requests_.Expire(300), 0u);
  EXPECT_EQ(requests_.Expire(1000), 1u);
  EXPECT_EQ(requests_.size(), 0u);
  EXPECT_EQ(pool_.available(), pool_.count());
}

TEST_F(IncomingRequestsTest, TellsOfEachRequestThatIsGivenUp) {
  using Requests = std::vector<std::pair<uint64_t, uint16_t>>;
  for (uint64_t client = 1; client <= 4; ++client) Begin(client, 7, static_cast<int64_t>(client));
  Begin(5, 8, 5);
  EXPECT_EQ(given_up_, (Requests{{1, 7}})) << "evicted";
  Add(2, 7, 6, 1, false);
  Add(2, 7, 6, 2, true);
  EXPECT_EQ(given_up_.size(), 1u) << "complete: nobody gave it up";
  requests_.Forget(Client(4));
  requests_.Expire(5);
  EXPECT_EQ(given_up_, (Requests{{1, 7}, {4, 7}, {3, 7}}));
}

}  // namespace
}  // namespace weft::rpc
