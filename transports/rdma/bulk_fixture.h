// SPDX-License-Identifier: Apache-2.0
//
// What tests of long messages over the simulated device share: ends that expose and fetch.
#ifndef WEFT_TRANSPORTS_RDMA_BULK_FIXTURE_H_
#define WEFT_TRANSPORTS_RDMA_BULK_FIXTURE_H_

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/prng.h"
#include "weft/transports/rdma/bulk_path.h"
#include "weft/transports/rdma/sim_nic.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rdma {

// One end of long messages.
class BulkEnd final : public BulkPath::Peers {
 public:
  BulkEnd(sim::Network* network, const std::string& name,
          const BulkPath::Options& options = {.count = 8, .max_bytes = 100'000},
          const SimNicOptions& device = {})
      : network_(network), nic_(*SimNic::Open(network, Address::Sim(name), device)) {
    transport_ = sim::OpenTransport(network, {.count = 64});
    rendezvous_ =
        std::make_unique<Rendezvous>(*transport_->OpenDatagramPort({.local = Address::Sim(name)}),
                                     Rendezvous::Options{.incarnation = network->random().Next(),
                                                         .timeout_ns = 50'000'000,
                                                         .worker = 0,
                                                         .asking = nullptr});
    queue_ = *nic_->OpenCompletionQueue();
    news_ = nic_->Subscribe();
    bulk_ = *BulkPath::Open(nic_.get(), queue_.get(), rendezvous_.get(), this, options);
  }
  ~BulkEnd() override {
    for (const Address& peer : bulk_->connections().Peers()) rendezvous_->SayBye(peer);
  }

  static Peer PeerOf(char name) { return {{static_cast<uint64_t>(name), 0, 0}}; }
  std::optional<RcPeer> RcPeerOf(const Peer& peer) const override {
    return RcPeer{Address::Sim(std::string(1, static_cast<char>(peer.words[0]))), 0};
  }
  void Poll() {
    rendezvous_->Poll(network_->NowNs());
    NicEvent events[4];
    const size_t news = hears_news_ ? news_->Take(absl::MakeSpan(events)) : 0;
    for (size_t i = 0; i < news; ++i) bulk_->OnQueueFailed(events[i].qpn);
    bulk_->Poll(network_->NowNs());
    BulkTransfers::Fetched fetched[4];
    for (size_t n; (n = bulk_->TakeFetched(absl::MakeSpan(fetched))) > 0;) {
      for (size_t i = 0; i < n; ++i) {
        EXPECT_TRUE(done_.emplace(fetched[i].context, std::move(fetched[i])).second);
      }
    }
  }
  // Whether it asks the device for news: as ports do now and then only, and not every device has
  // news of a queue pair whose user was denied.
  void set_hears_news(bool hears_news) { hears_news_ = hears_news; }
  int64_t NextNs() const { return std::min(rendezvous_->NextNs(), bulk_->NextNs()); }

  Buffer Message(const std::string& text) {
    Buffer buffer = bulk_->Allocate(text.size());
    if (buffer) std::memcpy(buffer.Append(text.size()), text.data(), text.size());
    return buffer;
  }
  BulkPath& bulk() { return *bulk_; }
  SimNic& nic() { return *nic_; }
  std::map<uint64_t, BulkTransfers::Fetched>& done() { return done_; }
  // That nothing is in use any more, and all buffers are back.
  void ExpectClean() {
    done_.clear();
    EXPECT_EQ(bulk_->exposures(), 0u);
    EXPECT_EQ(bulk_->fetches(), 0u);
    EXPECT_EQ(bulk_->connections().held(), 0u);
    EXPECT_EQ(bulk_->pool().available(), bulk_->pool().count());
  }

 private:
  sim::Network* const network_;
  std::unique_ptr<SimNic> nic_;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<Rendezvous> rendezvous_;
  std::unique_ptr<CompletionQueue> queue_;
  std::unique_ptr<Nic::Subscription> news_;
  bool hears_news_ = true;
  std::unique_ptr<BulkPath> bulk_;
  std::map<uint64_t, BulkTransfers::Fetched> done_;
};

inline std::string TextOf(const Buffer& buffer) {
  return std::string(reinterpret_cast<const char*>(buffer.data()), buffer.size());
}
inline std::string RandomText(Prng& random, size_t bytes) {
  std::string text(bytes, '\0');
  for (char& c : text) c = static_cast<char>(random.Next());
  return text;
}

class BulkPathTest : public testing::Test {
 protected:
  explicit BulkPathTest(uint64_t seed = 1, const sim::LinkOptions& link = {})
      : network_(seed, link) {}

  BulkEnd& Open(char name) {
    return *(ends_[name] = std::make_unique<BulkEnd>(&network_, std::string(1, name)));
  }
  // Polls all, while time passes, until `done`, or for so long.
  bool Until(absl::FunctionRef<bool()> done, int64_t for_ns = 5'000'000'000) {
    const int64_t end_ns = network_.NowNs() + for_ns;
    while (true) {
      int64_t next_ns = end_ns;
      for (auto& [name, end] : ends_) {
        if (end == nullptr) continue;
        end->Poll();
        next_ns = std::min(next_ns, end->NextNs());
      }
      if (done()) return true;
      if (network_.NowNs() >= end_ns) return false;
      next_ns = std::max(std::min(next_ns, network_.NextEventNs()), network_.NowNs() + 1);
      network_.AdvanceTo(next_ns);
    }
  }
  void Pass(int64_t ns) {
    Until([] { return false; }, ns);
  }
  BulkKey Expose(BulkEnd& owner, char to, const Buffer& message) {
    std::optional<BulkKey> key;
    EXPECT_TRUE(Until([&] {
      key = owner.bulk().Expose(BulkEnd::PeerOf(to), message);
      return key.has_value();
    }));
    return key.value_or(BulkKey());
  }
  // Begins once it can.
  bool Fetch(BulkEnd& user, char from, const BulkKey& key, size_t bytes, uint64_t context) {
    Buffer room = user.bulk().Allocate(bytes);
    return Until(
        [&] { return user.bulk().Fetch(BulkEnd::PeerOf(from), key, bytes, room, context); },
        200'000'000);
  }
  // The message, or nothing if it could not be read.
  std::optional<std::string> Result(BulkEnd& user, uint64_t context) {
    EXPECT_TRUE(Until([&] { return user.done().contains(context); }));
    auto fetched = user.done().extract(context);
    if (fetched.empty()) return std::nullopt;
    EXPECT_TRUE(fetched.mapped().buffer);
    if (!fetched.mapped().ok) {
      EXPECT_TRUE(fetched.mapped().buffer.empty());
      return std::nullopt;
    }
    return TextOf(fetched.mapped().buffer);
  }

  sim::Network network_;
  std::map<char, std::unique_ptr<BulkEnd>> ends_;
};

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_BULK_FIXTURE_H_
