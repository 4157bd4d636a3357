// SPDX-License-Identifier: Apache-2.0
//
// For tests of the store: its two sides, who writes and who reads, and what they may see.
#ifndef WEFT_EXAMPLES_RDMA_KV_STORE_TEST_UTIL_H_
#define WEFT_EXAMPLES_RDMA_KV_STORE_TEST_UTIL_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/loop.h"
#include "weft/core/prng.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"
#include "weft/examples/rdma_kv/client.h"
#include "weft/examples/rdma_kv/store.h"
#include "weft/rpc/client.h"
#include "weft/rpc/options.h"
#include "weft/rpc/service/channel.h"
#include "weft/rpc/service/service_server.h"
#include "weft/transports/remote_memory/memory_client.h"
#include "weft/transports/transport.h"

namespace rdma_kv {

struct ServerSide {
  // Without `remote`, the store has no memory that others can read.
  ServerSide(weft::Loop& loop, std::unique_ptr<weft::DatagramPort> port,
             std::unique_ptr<weft::RemoteMemory> remote, StoreOptions options,
             std::optional<uint64_t> seed = std::nullopt) {
    if (remote != nullptr) memory.emplace(loop, std::move(remote));
    options.seed = seed;
    options.address_of = [this](const weft::Peer& peer) {
      return server->server().port().AddressOf(peer);
    };
    auto created = Store::Create(memory ? &*memory : nullptr, options);
    EXPECT_TRUE(created.ok()) << created.status();
    store = *std::move(created);
    auto served = weft::rpc::ServiceServer::Create(loop, std::move(port), {.key_seed = seed}, {},
                                                   {store.get()});
    EXPECT_TRUE(served.ok()) << served.status();
    server = *std::move(served);
  }

  std::optional<weft::MemoryClient> memory;
  std::unique_ptr<Store> store;
  std::unique_ptr<weft::rpc::ServiceServer> server;
};

struct ClientSide {
  ClientSide(weft::Loop& loop, std::unique_ptr<weft::DatagramPort> port,
             std::unique_ptr<weft::RemoteMemory> remote, const weft::Address& server,
             StoreClientOptions options = {}, std::optional<uint64_t> seed = std::nullopt) {
    auto created = weft::rpc::Client::Create(loop, std::move(port), {.request_id_seed = seed});
    EXPECT_TRUE(created.ok()) << created.status();
    client = *std::move(created);
    auto peer = client->Resolve(server);
    EXPECT_TRUE(peer.ok()) << peer.status();
    channel.emplace(*client, *peer);
    if (remote != nullptr) memory.emplace(loop, std::move(remote));
    options.server = server;
    store.emplace(*channel, memory ? &*memory : nullptr, options);
  }

  std::unique_ptr<weft::rpc::Client> client;
  std::optional<weft::rpc::Channel> channel;
  std::optional<weft::MemoryClient> memory;
  std::optional<StoreClient> store;
};

// Cuts each read into words that are read on their own, in another order: what a long read may look
// like to the far memory.
class TornReads final : public weft::RemoteMemory {
 public:
  TornReads(std::unique_ptr<weft::RemoteMemory> inner, uint64_t seed)
      : RemoteMemory(inner->capabilities(), *inner), inner_(std::move(inner)), prng_(seed) {}

  weft::Address local_address() const override { return inner_->local_address(); }
  absl::StatusOr<weft::MemoryRegion> Allocate(size_t bytes) override {
    return inner_->Allocate(bytes);
  }
  absl::StatusOr<weft::MemoryRegion> Register(absl::Span<uint8_t> memory) override {
    return inner_->Register(memory);
  }
  void Deregister(const weft::MemoryRegion& region) override { inner_->Deregister(region); }
  absl::StatusOr<weft::Peer> Resolve(const weft::Address& address) override {
    return inner_->Resolve(address);
  }
  absl::StatusOr<weft::Address> AddressOf(const weft::Peer& peer) const override {
    return inner_->AddressOf(peer);
  }
  absl::StatusOr<weft::RemoteKey> Grant(const weft::Peer& peer, const weft::MemoryRegion& region,
                                        size_t offset, size_t bytes,
                                        weft::MemoryAccess access) override {
    return inner_->Grant(peer, region, offset, bytes, access);
  }
  void Revoke(const weft::RemoteKey& key) override { inner_->Revoke(key); }

  size_t Post(absl::Span<const weft::MemoryOperation> operations) override {
    for (const weft::MemoryOperation& operation : operations) Cut(operation);
    PostPieces();
    return operations.size();
  }

  size_t Poll(absl::Span<weft::MemoryCompletion> completions) override {
    PostPieces();
    std::array<weft::MemoryCompletion, 32> done;
    const size_t pieces = inner_->Poll(absl::MakeSpan(done));
    for (size_t i = 0; i < pieces; ++i) {
      Whole& whole = *wholes_[done[i].context];
      // Pieces behind one that is refused are aborted, which says less.
      if (whole.end.code != absl::StatusCode::kPermissionDenied &&
          done[i].code != absl::StatusCode::kOk) {
        whole.end.code = done[i].code;
      }
      if (--whole.left == 0) ended_.push_back(whole.end);
    }
    const size_t count = std::min(completions.size(), ended_.size());
    std::copy_n(ended_.begin(), count, completions.begin());
    ended_.erase(ended_.begin(), ended_.begin() + static_cast<ptrdiff_t>(count));
    return count;
  }

  int wait_fd() const override { return inner_->wait_fd(); }
  bool Arm() override { return pieces_.empty() && ended_.empty() && inner_->Arm(); }
  void Disarm() override { inner_->Disarm(); }

 private:
  struct Whole {
    weft::MemoryCompletion end;
    size_t left = 0;
  };

  size_t DoTakeEvents(absl::Span<weft::PortEvent> events) override {
    return inner_->TakeEvents(events);
  }

  // In pieces of a cache line or so, each somewhere in it; the first byte of all may come last.
  void Cut(const weft::MemoryOperation& operation) {
    const size_t first = pieces_.size();
    auto whole = std::make_unique<Whole>();
    whole->end.context = operation.context;
    for (size_t at = 0; at < operation.local.size();) {
      const size_t bytes = std::min<size_t>(operation.local.size() - at, 8 + 8 * prng_.Below(16));
      weft::MemoryOperation piece = operation;
      piece.offset += at;
      piece.local = operation.local.subspan(at, bytes);
      piece.context = wholes_.size();
      pieces_.push_back(piece);
      at += bytes;
      ++whole->left;
    }
    for (size_t i = pieces_.size() - 1; i > first; --i) {
      std::swap(pieces_[i], pieces_[first + prng_.Below(i - first + 1)]);
    }
    wholes_.push_back(std::move(whole));
  }
  void PostPieces() {
    const size_t posted = inner_->Post(pieces_);
    pieces_.erase(pieces_.begin(), pieces_.begin() + static_cast<ptrdiff_t>(posted));
  }

  const std::unique_ptr<weft::RemoteMemory> inner_;
  weft::Prng prng_;
  std::vector<weft::MemoryOperation> pieces_;
  std::vector<std::unique_ptr<Whole>> wholes_;  // by context of the pieces
  std::vector<weft::MemoryCompletion> ended_;
};

// What one writer has done to a key, as all who read it may know it. Change number n leaves the
// value ValueOf(n), or nothing.
class KeyHistory {
 public:
  explicit KeyHistory(std::string key) : key_(std::move(key)) {}

  const std::string& key() const { return key_; }
  static bool Deletes(uint64_t change) { return change % 7 == 0; }  // 0: before the first
  // Of another length each time, and full of its number.
  static std::string ValueOf(uint64_t change) {
    std::string value;
    for (uint64_t i = 0; i < 1 + change % 25; ++i) {
      value.append(reinterpret_cast<const char*>(&change), sizeof(change));
    }
    return value;
  }

  // What a change is, before it is asked for; and that it has been made.
  uint64_t Begin() { return ++begun_; }
  void End(uint64_t change) { See(change); }

  // What somebody may not see any more who begins to read now.
  uint64_t seen() const { return seen_; }
  // Whether what a Get() found, that began when seen() was `before`, is one of the states since.
  ::testing::AssertionResult Check(uint64_t before, const absl::Status& status,
                                   const StoreClient::Value& value) {
    if (absl::IsNotFound(status)) {
      for (uint64_t change = before; change <= begun_; ++change) {
        if (Deletes(change)) return ::testing::AssertionSuccess();
      }
      return ::testing::AssertionFailure() << key_ << " was there from " << before << " on";
    }
    if (!status.ok()) return ::testing::AssertionFailure() << key_ << ": " << status;
    uint64_t change = 0;
    if (value.bytes.size() >= sizeof(change)) {
      std::memcpy(&change, value.bytes.data(), sizeof(change));
    }
    if (value.bytes != ValueOf(change)) return ::testing::AssertionFailure() << key_ << ": torn";
    if (change < before || change > begun_) {
      return ::testing::AssertionFailure()
             << key_ << ": value " << change << " in place of " << before << " to " << begun_;
    }
    See(change);
    return ::testing::AssertionSuccess();
  }

 private:
  void See(uint64_t change) {
    uint64_t seen = seen_;
    while (seen < change && !seen_.compare_exchange_weak(seen, change)) {
    }
  }

  const std::string key_;
  std::atomic<uint64_t> begun_{0};
  std::atomic<uint64_t> seen_{0};
};

// Changes the keys in turn, `changes` times each.
inline weft::Task<void> Write(StoreClient& store, std::vector<std::unique_ptr<KeyHistory>>& keys,
                              uint64_t changes) {
  for (uint64_t i = 0; i < changes; ++i) {
    for (const auto& key : keys) {
      const uint64_t change = key->Begin();
      if (KeyHistory::Deletes(change)) {
        const absl::StatusOr<bool> deleted = co_await store.Delete(key->key());
        EXPECT_TRUE(deleted.ok()) << deleted.status();
      } else {
        const auto written = co_await store.Put(key->key(), KeyHistory::ValueOf(change));
        EXPECT_TRUE(written.ok()) << written.status();
      }
      key->End(change);
    }
  }
}

// Reads keys at random until `*done`, and checks each.
inline weft::Task<void> ReadAndCheck(StoreClient& store,
                                     std::vector<std::unique_ptr<KeyHistory>>& keys, uint64_t seed,
                                     const std::atomic<bool>& done) {
  weft::Prng prng(seed);
  StoreClient::Value value;
  while (!done) {
    KeyHistory& key = *keys[prng.Below(keys.size())];
    const uint64_t before = key.seen();
    const absl::Status status = co_await store.Get(key.key(), &value);
    const ::testing::AssertionResult right = key.Check(before, status, value);
    EXPECT_TRUE(right) << (value.by_read ? "by a read" : "by RPC");
    if (!right) co_return;
  }
}

}  // namespace rdma_kv

#endif  // WEFT_EXAMPLES_RDMA_KV_STORE_TEST_UTIL_H_
