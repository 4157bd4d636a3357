// SPDX-License-Identifier: Apache-2.0
//
// Bulk transfers over a simulated network that loses, repeats and exchanges packets.
#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "gtest/gtest.h"
#include "weft/config/config.h"
#include "weft/core/loop.h"
#include "weft/core/virtual_time.h"
#include "weft/examples/perf/bulk_client.h"
#include "weft/examples/perf/bulk_server.h"
#include "weft/tcp/connections.h"
#include "weft/transports/decorators/open.h"

namespace weft::perf {
namespace {

class BulkTest : public testing::Test {
 protected:
  BulkTest() {
    config::Transport config;
    config.set_name("sim");
    config.mutable_sim()->set_network("bulk");
    config.mutable_sim()->set_loss(0.01);
    config.mutable_sim()->set_duplicate(0.01);
    config.mutable_sim()->set_reorder(0.01);
    config.mutable_sim()->set_bandwidth_mbps(100);
    transport_ = *OpenTransport(config);
    loop_ = std::make_unique<Loop>(LoopOptions(), *transport_->virtual_time());
    server_ = std::make_unique<tcp::Connections>(*loop_, *transport_->OpenStreamPort({}));
    client_ = std::make_unique<tcp::Connections>(*loop_, *transport_->OpenStreamPort({}));
    address_ = *server_->Listen(Address::Sim("bulk"), 16, [this](tcp::Connection connection) {
      std::move(connection).Serve(std::make_unique<BulkServer>(*loop_, server_counters_));
    });
  }
  bool Until(absl::FunctionRef<bool()> done) {
    return RunVirtual(*transport_->virtual_time(), {loop_.get()}, done);
  }

  std::unique_ptr<Transport> transport_;
  std::unique_ptr<Loop> loop_;
  BulkCounters server_counters_;
  BulkCounters client_counters_;
  std::unique_ptr<tcp::Connections> server_;
  std::unique_ptr<tcp::Connections> client_;
  Address address_;
};

TEST_F(BulkTest, EveryByteArrivesInBothDirections) {
  std::vector<BulkResult> results;
  for (const bool down : {false, true}) {
    const BulkHeader header = {.down = down, .verify = true, .duration_ms = 500};
    ASSERT_EQ(client_->Connect(address_, std::make_unique<BulkClient>(
                                             *loop_, client_counters_, header,
                                             [&](const absl::Status& status, const BulkResult& r) {
                                               EXPECT_EQ(status, absl::OkStatus());
                                               results.push_back(r);
                                             })),
              absl::OkStatus());
  }
  EXPECT_TRUE(Until([&] { return results.size() == 2; }));
  uint64_t sent = 0;
  uint64_t received = 0;
  for (const BulkResult& result : results) {
    sent += result.sent;
    received += result.received;
  }
  EXPECT_GT(sent, 100'000u);
  EXPECT_GT(received, 100'000u);
  EXPECT_EQ(server_counters_.received.value(), sent);
  EXPECT_EQ(server_counters_.sent.value(), received);
}

TEST_F(BulkTest, NobodyListens) {
  absl::Status failed;
  const auto connect = [&](const Address& address) {
    return client_->Connect(
        address, std::make_unique<BulkClient>(
                     *loop_, client_counters_, BulkHeader{.duration_ms = 10},
                     [&](const absl::Status& status, const BulkResult&) { failed = status; }));
  };
  ASSERT_EQ(connect(Address::Sim("nobody")), absl::OkStatus());
  EXPECT_TRUE(Until([&] { return !failed.ok(); }));
  EXPECT_TRUE(absl::IsUnavailable(failed)) << failed;
}

// Sends what is no pattern, and the end; and keeps what it is answered.
class Liar : public tcp::ConnectionHandler {
 public:
  Liar(std::string text, std::string* answer) : text_(std::move(text)), answer_(answer) {}
  void OnConnected(tcp::Connection& connection) override {
    connection.Send({reinterpret_cast<const uint8_t*>(text_.data()), text_.size()});
    connection.CloseWrite();
  }
  void OnData(tcp::Connection& connection) override {
    const absl::Span<const uint8_t> in = connection.ReadView();
    answer_->append(in.begin(), in.end());
    connection.Consume(in.size());
  }

 private:
  const std::string text_;
  std::string* const answer_;
};

TEST_F(BulkTest, TheServerSaysWhatWasWrong) {
  const auto header = BulkHeader{.verify = true, .duration_ms = 10}.Encode();
  const std::string text = std::string(header.begin(), header.end()) + "wrong from the first on";
  std::string answer;
  ASSERT_EQ(client_->Connect(address_, std::make_unique<Liar>(text, &answer)), absl::OkStatus());
  EXPECT_TRUE(Until([&] { return client_->size() == 0; }));
  EXPECT_EQ(answer, std::string(8, '\0'));
}

TEST_F(BulkTest, TheClientSaysWhatWasWrong) {
  std::string ignored;
  ASSERT_TRUE(server_
                  ->Listen(Address::Sim("liar"), 16,
                           [&](tcp::Connection connection) {
                             std::move(connection).Serve(std::make_unique<Liar>("liar", &ignored));
                           })
                  .ok());
  absl::Status status;
  const BulkHeader header = {.down = true, .verify = true, .duration_ms = 10};
  ASSERT_EQ(client_->Connect(Address::Sim("liar"), std::make_unique<BulkClient>(
                                                       *loop_, client_counters_, header,
                                                       [&](const absl::Status& seen,
                                                           const BulkResult&) { status = seen; })),
            absl::OkStatus());
  EXPECT_TRUE(Until([&] { return !status.ok(); }));
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
}

// One that sends `text` and then nothing.
class Silent : public tcp::ConnectionHandler {
 public:
  Silent(std::string text, bool* reset) : text_(std::move(text)), reset_(reset) {}
  void OnConnected(tcp::Connection& connection) override {
    connection.Send({reinterpret_cast<const uint8_t*>(text_.data()), text_.size()});
  }
  void OnData(tcp::Connection&) override {}
  void OnReset(tcp::Connection&, int) override { *reset_ = true; }

 private:
  const std::string text_;
  bool* const reset_;
};

TEST_F(BulkTest, WhatIsNoClientIsReset) {
  const std::array<uint8_t, BulkHeader::kBytes> up = BulkHeader{.duration_ms = 10}.Encode();
  const std::string header(up.begin(), up.end());
  std::string wrong = header;
  wrong[10] = 1;
  for (const std::string& text :
       {std::string(), std::string("GET / HTTP/1.1\r\n\r\n"), header.substr(0, 7), wrong, header}) {
    bool reset = false;
    ASSERT_EQ(client_->Connect(address_, std::make_unique<Silent>(text, &reset)), absl::OkStatus());
    EXPECT_TRUE(Until([&] { return reset; })) << text;
  }
}

TEST(PatternTest, IsRecognisedAtItsOffsetOnly) {
  std::vector<uint8_t> bytes(200'000);
  FillPattern(12345, absl::MakeSpan(bytes));
  EXPECT_TRUE(IsPattern(12345, bytes));
  EXPECT_TRUE(IsPattern(12345 + 777, absl::MakeConstSpan(bytes).subspan(777)));
  EXPECT_FALSE(IsPattern(12346, bytes));
  bytes[150'000] ^= 1;
  EXPECT_FALSE(IsPattern(12345, bytes));
}

TEST(BulkHeaderTest, OnlyWhatIsWellFormed) {
  const BulkHeader header = {.down = true, .verify = true, .duration_ms = 1234};
  const auto bytes = header.Encode();
  BulkHeader decoded;
  ASSERT_TRUE(decoded.Decode(bytes));
  EXPECT_TRUE(decoded.down && decoded.verify);
  EXPECT_EQ(decoded.duration_ms, 1234u);
  EXPECT_FALSE(decoded.Decode(absl::MakeConstSpan(bytes).first(15)));
  for (size_t i = 0; i < 12; ++i) {
    auto broken = bytes;
    broken[i] ^= 0x40;
    EXPECT_FALSE(decoded.Decode(broken)) << i;
  }
  EXPECT_FALSE(decoded.Decode(BulkHeader{.duration_ms = UINT32_MAX}.Encode()));
}

}  // namespace
}  // namespace weft::perf
