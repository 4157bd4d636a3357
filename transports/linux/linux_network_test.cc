// SPDX-License-Identifier: Apache-2.0
//
// What loopback cannot show: a path with a small MTU, a slow device, scoped addresses, no route.
// Two network namespaces of their own, joined by a veth pair; skipped where the kernel does not let
// us make them.
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "weft/core/unique_fd.h"
#include "weft/transports/linux/linux_test_util.h"

namespace weft::linux_transport {
namespace {

using ::testing::ElementsAreArray;

bool Shell(const std::string& command) {
  return std::system(
             absl::StrCat("PATH=$PATH:/usr/sbin:/sbin; ", command, " >/dev/null 2>&1").c_str()) ==
         0;
}

// A namespace; sockets that are opened after Enter() belong to it for good.
class Namespace {
 public:
  // False without the permission. Enters it.
  bool Make() {
    if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return false;
    fd_ = UniqueFd(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    return static_cast<bool>(fd_) && Shell("ip link set lo up");
  }
  bool Enter() const { return setns(fd_.get(), CLONE_NEWNET) == 0; }
  std::string path() const { return absl::StrCat("/proc/", getpid(), "/fd/", fd_.get()); }

 private:
  UniqueFd fd_;
};

class LinuxNetworkTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    static Namespace here, there;
    if (!there.Make() || !here.Make()) return;
    const auto up = [](const std::string& device, const std::string& end) {
      return Shell(absl::StrCat("ip link set ", device,
                                " addrgenmode none mtu 1280 && ip addr add 10.9.8.", end,
                                "/24 dev ", device, " && ip link set ", device,
                                " up && ip addr add fe80::", end, "/64 dev ", device, " nodad"));
    };
    ready_ =
        Shell(absl::StrCat("ip link add near0 type veth peer name far0 netns ", there.path())) &&
        up("near0", "1") && there.Enter() && up("far0", "2") && here.Enter();
    here_ = &here;
    there_ = &there;
  }

  void SetUp() override {
    if (!ready_) GTEST_SKIP() << "cannot make network namespaces joined by a veth pair";
  }

  std::unique_ptr<DatagramPort> OpenThere(const std::string& address) {
    EXPECT_TRUE(there_->Enter());
    auto port = OpenAt(*transport_, address);
    EXPECT_TRUE(here_->Enter());
    return port;
  }

  static inline bool ready_ = false;
  static inline Namespace* here_ = nullptr;
  static inline Namespace* there_ = nullptr;
  std::unique_ptr<Transport> transport_ = OpenLinux();
};

TEST_F(LinuxNetworkTest, LinkLocalAddressesCarryTheirScope) {
  const auto near = OpenAt(*transport_, "[::]:0");
  const auto far = OpenThere("[::]:0");
  Address::Ipv6Bytes ip = {0xfe, 0x80};
  ip[15] = 2;
  const Address address = Address::Ipv6(ip, far->local_address().port(), if_nametoindex("near0"));
  const Peer peer = near->Resolve(address).value();
  EXPECT_EQ(near->AddressOf(peer).value(), address);
  SendAll(*near, peer, {"one", "two"});
  const std::vector<Received> received = ReceiveAll(*far, 2);
  ASSERT_EQ(received.size(), 2u);
  EXPECT_NE(far->AddressOf(received[0].peer).value().scope(), 0u);
  SendAll(*far, received[0].peer, {"back"});
  const std::vector<Received> replies = ReceiveAll(*near, 1);
  ASSERT_EQ(replies.size(), 1u);
  EXPECT_EQ(replies[0].peer, peer);
}

TEST_F(LinuxNetworkTest, SegmentsThatDoNotFitThePathAreSentOneByOne) {
  for (const char* any : {"10.9.8.2:0", "[::]:0"}) {
    const auto near = ValueOrDie(transport_->OpenDatagramPort({}));
    const auto far = OpenThere(any);
    const Address address = At(absl::StrCat("10.9.8.2:", far->local_address().port()));
    const Peer peer = near->Resolve(address).value();
    for (size_t size : {1600, 1000, 1600, 1252, 1000}) {
      const std::vector<std::string> texts(10, std::string(size, 'x'));
      SendAll(*near, peer, texts);
      EXPECT_THAT(ReceiveTexts(*far, texts.size()), ElementsAreArray(texts));
    }
    EXPECT_EQ(near->stats().send_failed, 0u);
  }
}

TEST_F(LinuxNetworkTest, MissingRouteIsAnEventAndBlocksNothing) {
  const auto near = OpenAt(*transport_, "0.0.0.0:0");
  const auto far = OpenThere("10.9.8.2:0");
  const Peer lost = near->Resolve(At("203.0.113.1:9")).value();
  const Peer found = near->Resolve(far->local_address()).value();
  std::vector<Datagram> burst;
  for (int i = 0; i < 3; ++i) {
    burst.push_back(Message(*near, lost, "lost"));
    burst.push_back(Message(*near, lost, "lost"));
    burst.push_back(Message(*near, found, "found"));
  }
  EXPECT_EQ(near->Send(absl::MakeSpan(burst)), burst.size());
  EXPECT_EQ(ReceiveTexts(*far, 3).size(), 3u);
  EXPECT_EQ(near->stats().send_failed, 6u);
  const PortEvent event = NextEvent(*near);
  EXPECT_EQ(event.peer, lost);
  EXPECT_EQ(event.error, ENETUNREACH);
  PortEvent second;
  EXPECT_EQ(near->TakeEvents({&second, 1}), 0u);
}

TEST_F(LinuxNetworkTest, AFullSocketTakesNoMoreUntilThereIsRoom) {
  if (!Shell("tc qdisc add dev near0 root tbf rate 40mbit burst 10k limit 10m")) {
    GTEST_SKIP() << "this kernel has no tbf";
  }
  for (const char* gso : {"false", "true"}) {
    const auto transport =
        OpenLinux(absl::StrCat("linux { send_buffer_bytes: 8192 gso: ", gso, " }"));
    const auto near = OpenAt(*transport, "0.0.0.0:0");
    const auto far = OpenThere("10.9.8.2:0");
    const Peer peer = near->Resolve(far->local_address()).value();
    std::vector<std::string> texts;
    for (int i = 0; i < 300; ++i) texts.push_back(absl::StrCat(i, std::string(1000, ' ')));
    std::vector<Datagram> burst;
    for (const std::string& text : texts) burst.push_back(Message(*near, peer, text));
    absl::Span<Datagram> rest = absl::MakeSpan(burst);
    while (!rest.empty()) {
      const size_t taken = near->Send(rest);
      for (const Datagram& datagram : rest.first(taken)) EXPECT_FALSE(datagram.buffer);
      rest.remove_prefix(taken);
      for (const Datagram& datagram : rest) EXPECT_TRUE(datagram.buffer);
      // Somebody waits to send: do not sleep. Not more than once though, or nobody would ever
      // sleep.
      EXPECT_EQ(near->Arm(), rest.empty());
      EXPECT_TRUE(near->Arm());
    }
    EXPECT_GT(near->stats().send_blocked, 0u);
    EXPECT_EQ(near->stats().send_failed, 0u);
    EXPECT_THAT(ReceiveTexts(*far, texts.size()), ElementsAreArray(texts));
  }
  EXPECT_TRUE(Shell("tc qdisc del dev near0 root"));
}

}  // namespace
}  // namespace weft::linux_transport
