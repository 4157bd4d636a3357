// SPDX-License-Identifier: Apache-2.0
//
// Long messages between two ports on the devices of this machine: that they arrive, that what is
// concealed cannot be read, and how long they take, fetched and cut into datagrams.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"
#include "weft/config/config.h"
#include "weft/transports/rdma/rdma_datagram_port.h"
#include "weft/transports/registry.h"

namespace weft::rdma {
namespace {

constexpr size_t kSizes[] = {2048, 4096, 8192, 16'384, 32'768, 65'536, 262'144};
constexpr size_t kLargest = 262'144;
constexpr size_t kRounds = 15;

class BulkDeviceTest : public testing::Test {
 protected:
  void SetUp() override {
    const char* const given = std::getenv("WEFT_RDMA_ADDRESSES");
    const std::vector<std::string> ips =
        absl::StrSplit(given == nullptr ? "" : given, ' ', absl::SkipEmpty());
    if (ips.size() < 2) GTEST_SKIP() << "WEFT_RDMA_ADDRESSES names no two addresses";
    config::Transport config;
    config.set_name("rdma");
    config.mutable_rdma()->set_bulk_count(4);
    config.mutable_rdma()->set_bulk_bytes(kLargest);
    config.mutable_buffers()->set_count(1024);
    auto transport = OpenPlainTransport(config);
    ASSERT_TRUE(transport.ok()) << transport.status();
    transport_ = *std::move(transport);
    for (size_t i = 0; i < 2; ++i) {
      auto port =
          transport_->OpenDatagramPort({.local = *Address::Parse(absl::StrCat(ips[i], ":0"))});
      ASSERT_TRUE(port.ok()) << port.status();
      ports_[i] = *std::move(port);
      ASSERT_NE(ports_[i]->bulk(), nullptr);
    }
    peers_[0] = *ports_[0]->Resolve(ports_[1]->local_address());
    peers_[1] = *ports_[1]->Resolve(ports_[0]->local_address());
    Tell(0);  // which of an address's workers a peer is, is known once he has been heard
  }

  // Polls both until `done`; what arrives is counted.
  bool Until(absl::FunctionRef<bool()> done) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (std::chrono::steady_clock::now() < end) {
      for (size_t i = 0; i < 2; ++i) {
        Datagram in[32];
        const size_t n = ports_[i]->Receive(absl::MakeSpan(in));
        arrived_[i] += n;
      }
      BulkTransfers::Fetched fetched[1];
      if (ports_[1]->bulk()->TakeFetched(absl::MakeSpan(fetched)) == 1) {
        fetched_ = std::move(fetched[0]);
      }
      if (done()) return true;
    }
    return false;
  }
  bool SendFrom(size_t i, size_t bytes) {
    Datagram out[1] = {{peers_[i], ports_[i]->pool().Allocate()}};
    if (!out[0].buffer) return false;
    out[0].buffer.Append(bytes);
    return ports_[i]->Send(absl::MakeSpan(out)) == 1;
  }
  // One datagram from `i` to the other.
  void Tell(size_t i) {
    const size_t before = arrived_[1 - i];
    ASSERT_TRUE(SendFrom(i, 40));
    ASSERT_TRUE(Until([&] { return arrived_[1 - i] > before; }));
  }
  std::optional<BulkKey> Expose(const Buffer& message) {
    std::optional<BulkKey> key;
    EXPECT_TRUE(Until([&] {
      key = ports_[0]->bulk()->Expose(peers_[0], message);
      return key.has_value();
    }));
    return key;
  }
  // Nothing: it could not be read.
  std::optional<Buffer> Fetch(const BulkKey& key, size_t bytes) {
    Buffer room = ports_[1]->bulk()->Allocate(bytes);
    fetched_.reset();
    EXPECT_TRUE(Until([&] { return ports_[1]->bulk()->Fetch(peers_[1], key, bytes, room, 1); }));
    EXPECT_TRUE(Until([&] { return fetched_.has_value(); }));
    if (!fetched_.has_value() || !fetched_->ok) return std::nullopt;
    return std::move(fetched_->buffer);
  }

  // What can be read is, though not always at once where the devices are starved of their
  // processor.
  std::optional<Buffer> FetchInSomeTries(const BulkKey& key, size_t bytes) {
    std::optional<Buffer> got;
    for (int tries = 0; tries < 4 && !got.has_value(); ++tries) got = Fetch(key, bytes);
    return got;
  }

  // A message as a service would send it: announced, fetched, acknowledged, concealed. False: it
  // could not be read.
  bool Fetched(const Buffer& message) {
    const std::optional<BulkKey> key = Expose(message);
    if (!key.has_value()) return false;
    Tell(0);
    const bool got = Fetch(*key, message.size()).has_value();
    Tell(1);
    ports_[0]->bulk()->Conceal(*key);
    return got;
  }
  // The same in datagrams, of which a window is under way.
  void Cut(size_t bytes) {
    const size_t most = ports_[0]->MaxPayloadTo(peers_[0]);
    const size_t all = (bytes + most - 1) / most;
    const size_t before = arrived_[1];
    size_t sent = 0;
    ASSERT_TRUE(Until([&] {
      while (sent < all && sent - (arrived_[1] - before) < 32 &&
             SendFrom(0, std::min(most, bytes - sent * most))) {
        ++sent;
      }
      return arrived_[1] - before == all;
    }));
    Tell(1);
  }

  std::unique_ptr<Transport> transport_;
  std::unique_ptr<DatagramPort> ports_[2];
  Peer peers_[2];
  size_t arrived_[2] = {};
  std::optional<BulkTransfers::Fetched> fetched_;
};

TEST_F(BulkDeviceTest, MessagesArriveAndConcealedOnesCannotBeRead) {
  BulkTransfers& bulk = *ports_[0]->bulk();
  std::optional<BulkKey> concealed;
  for (const size_t bytes : {size_t{1}, size_t{4097}, kLargest}) {
    Buffer message = bulk.Allocate(bytes);
    uint8_t* const data = message.Append(bytes);
    for (size_t i = 0; i < bytes; ++i) data[i] = static_cast<uint8_t>(i * 7 + bytes);
    const std::optional<BulkKey> key = Expose(message);
    ASSERT_TRUE(key.has_value());
    const std::optional<Buffer> got = FetchInSomeTries(*key, bytes);
    ASSERT_TRUE(got.has_value());
    EXPECT_EQ(got->bytes(), message.bytes());
    bulk.Conceal(*key);
    EXPECT_TRUE(Until([&] { return !message.is_shared(); }));
    concealed = key;
  }
  Buffer message = bulk.Allocate(100);
  message.Append(100);
  const std::optional<BulkKey> key = Expose(message);
  ASSERT_TRUE(key.has_value());
  EXPECT_FALSE(Fetch(*concealed, 100).has_value());
  // The connection is there again, and the key, which was given before it broke, works.
  EXPECT_TRUE(FetchInSomeTries(*key, 100).has_value());
  bulk.Conceal(*key);
}

TEST_F(BulkDeviceTest, HowLongTheyTake) {
  std::printf("%10s %12s %12s %8s\n", "bytes", "fetched us", "cut us", "ratio");
  for (const size_t bytes : kSizes) {
    Buffer message = ports_[0]->bulk()->Allocate(bytes);
    std::memset(message.Append(bytes), 1, bytes);
    std::vector<double> fetched_us, cut_us;
    int failed = 0;
    for (int round = 0; cut_us.size() < kRounds && !HasFatalFailure(); ++round) {
      using Clock = std::chrono::steady_clock;
      const auto begin = Clock::now();
      const bool fetched = Fetched(message);
      const auto middle = Clock::now();
      Cut(bytes);
      const auto end = Clock::now();
      failed += fetched ? 0 : 1;
      ASSERT_LE(failed, 3) << "of " << round + 1 << ", of " << bytes << " bytes";
      if (round == 0 || !fetched) continue;
      fetched_us.push_back(std::chrono::duration<double, std::micro>(middle - begin).count());
      cut_us.push_back(std::chrono::duration<double, std::micro>(end - middle).count());
    }
    if (HasFatalFailure()) return;
    std::nth_element(fetched_us.begin(), fetched_us.begin() + kRounds / 2, fetched_us.end());
    std::nth_element(cut_us.begin(), cut_us.begin() + kRounds / 2, cut_us.end());
    const double fetched = fetched_us[kRounds / 2], cut = cut_us[kRounds / 2];
    std::printf("%10zu %12.0f %12.0f %8.2f\n", bytes, fetched, cut, fetched / cut);
  }
}

}  // namespace
}  // namespace weft::rdma
