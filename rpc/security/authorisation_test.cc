// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/security/authorisation.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace weft::rpc {
namespace {

// Peers are numbers, and it is said who they are.
class IdentityPort final : public DatagramPort {
 public:
  IdentityPort() : DatagramPort({.datagrams = true}, BufferPoolOptions{.count = 1}) {}
  Address local_address() const override { return Address::Sim("identities"); }
  absl::StatusOr<Peer> Resolve(const Address&) override { return Peer{{1}}; }
  absl::StatusOr<Address> AddressOf(const Peer&) const override { return local_address(); }
  absl::string_view IdentityOf(const Peer& peer) const override {
    ++looked_up;
    const auto it = identities.find(peer.words[0]);
    return it != identities.end() ? it->second : absl::string_view();
  }
  size_t Receive(absl::Span<Datagram>) override { return 0; }
  size_t Send(absl::Span<Datagram>) override { return 0; }

  std::map<uint64_t, std::string> identities;
  mutable int looked_up = 0;

 private:
  size_t DoTakeEvents(absl::Span<PortEvent>) override { return 0; }
};

bool AdminsMayDoAll(absl::string_view method, absl::string_view identity) {
  return identity == "admin" || (identity == "reader" && method == "kv.KeyValue/Get");
}

TEST(AuthorisationTest, EachIdentityHasItsMethods) {
  IdentityPort port;
  port.identities = {{1, "admin"}, {2, "reader"}, {3, "stranger"}};
  Authorisation authorisation(&AdminsMayDoAll, {"kv.KeyValue/Get", "kv.KeyValue/Put"});
  for (int again = 0; again < 2; ++again) {
    EXPECT_TRUE(authorisation.Allows(port, Peer{{1}}, 0));
    EXPECT_TRUE(authorisation.Allows(port, Peer{{1}}, 1));
    EXPECT_TRUE(authorisation.Allows(port, Peer{{2}}, 0));
    EXPECT_FALSE(authorisation.Allows(port, Peer{{2}}, 1));
    EXPECT_FALSE(authorisation.Allows(port, Peer{{3}}, 0));
    EXPECT_FALSE(authorisation.Allows(port, Peer{{4}}, 0));
  }
}

TEST(AuthorisationTest, APeerIsLookedUpOnce) {
  IdentityPort port;
  port.identities = {{1, "admin"}};
  Authorisation authorisation(&AdminsMayDoAll, {""});
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(authorisation.Allows(port, Peer{{1}}, 0));
  EXPECT_EQ(port.looked_up, 1);
}

TEST(AuthorisationTest, APeerMayProveLaterWhoItIs) {
  IdentityPort port;
  Authorisation authorisation(&AdminsMayDoAll, {""});
  EXPECT_FALSE(authorisation.Allows(port, Peer{{1}}, 0));
  port.identities = {{1, "admin"}};
  EXPECT_TRUE(authorisation.Allows(port, Peer{{1}}, 0));
}

TEST(AuthorisationTest, ManyPeersIdentitiesAndMethods) {
  IdentityPort port;
  std::vector<std::string> methods;
  for (int i = 0; i < 200; ++i) methods.push_back(std::to_string(i));
  Authorisation authorisation(
      [](absl::string_view method, absl::string_view identity) { return method == identity; },
      methods);
  for (uint64_t peer = 1; peer <= 10'000; ++peer) port.identities[peer] = std::to_string(peer);
  for (int again = 0; again < 2; ++again) {
    for (uint64_t peer = 1; peer <= 10'000; ++peer) {
      for (const size_t method : {size_t{0}, size_t{63}, size_t{64}, size_t{199}}) {
        ASSERT_EQ(authorisation.Allows(port, Peer{{peer}}, method), peer == method) << peer;
      }
    }
  }
}

}  // namespace
}  // namespace weft::rpc
