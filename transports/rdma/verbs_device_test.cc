// SPDX-License-Identifier: Apache-2.0
//
// What is said when a device cannot be opened or used, and what happens to it. Runs in the virtual
// machine: tools/vm/run --net.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <vector>

#include "weft/transports/rdma/device.h"
#include "weft/transports/rdma/verbs_test_util.h"

namespace weft::rdma {
namespace {

constexpr char kFirst[] = "10.77.0.1:0";

using ::testing::HasSubstr;

absl::Status Open(absl::string_view address, const config::Rdma& settings = {}) {
  return OpenNic(settings, *Address::Parse(address)).status();
}

// What `say` returns in a process of its own, which may change what it likes of itself.
std::string InAnotherProcess(const std::function<std::string()>& say) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    const std::string said = say();
    const bool written = write(ends[1], said.data(), said.size()) >= 0;
    _exit(written ? 0 : 1);
  }
  close(ends[1]);
  std::string said;
  char bytes[4096];
  for (ssize_t n; (n = read(ends[0], bytes, sizeof(bytes))) > 0;) {
    said.append(bytes, static_cast<size_t>(n));
  }
  close(ends[0]);
  waitpid(child, nullptr, 0);
  return said;
}

TEST(VerbsDevicesTest, BothAreFound) {
  const auto devices = ListDevices();
  ASSERT_TRUE(devices.ok()) << devices.status();
  ASSERT_EQ(devices->size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    const DeviceInfo& device = (*devices)[i];
    EXPECT_EQ(device.name, "rxe" + std::to_string(i));
    EXPECT_TRUE(device.status.ok()) << device.status;
    EXPECT_TRUE(device.is_software);
    EXPECT_THAT(device.node, HasSubstr("/dev/infiniband/uverbs"));
    ASSERT_EQ(device.ports.size(), 1u);
    const PortInfo& port = device.ports[0];
    EXPECT_EQ(port.state, PortInfo::State::kActive);
    EXPECT_FALSE(port.is_infiniband);
    EXPECT_EQ(port.mtu_bytes, 4096u);
    ASSERT_GE(port.gids.size(), 2u);
    EXPECT_EQ(port.gids[1].index, 1u);
    EXPECT_EQ(port.gids[1].type, GidType::kRoceV2);
    EXPECT_EQ(GidText(port.gids[1].gid), "10.77.0." + std::to_string(i + 1));
    EXPECT_EQ(port.gids[1].interface, "rv" + std::to_string(i));
    EXPECT_FALSE(IsIpv4(port.gids[0].gid));
  }
  EXPECT_TRUE(ProbeDevices().ok());
}

TEST(VerbsDevicesTest, LimitsAreTheDevices) {
  const auto nic = OpenNic({}, *Address::Parse(kFirst));
  ASSERT_TRUE(nic.ok()) << nic.status();
  const NicLimits& limits = (*nic)->limits();
  EXPECT_EQ(limits.path_mtu_bytes, 4096u);
  EXPECT_EQ(limits.inline_bytes, 256u);
  EXPECT_TRUE(limits.memory_windows);
  EXPECT_TRUE(limits.is_software);
  EXPECT_GE(limits.max_message_bytes, 1u << 20);
  EXPECT_EQ(limits.reads_in_flight, 16u);
}

TEST(VerbsDevicesTest, ErrorsNameWhatIsThere) {
  config::Rdma settings;
  settings.set_device("mlx5_0");
  EXPECT_THAT(std::string(Open("10.77.0.1:0", settings).message()),
              HasSubstr("no RDMA device mlx5_0 (rdma.device); these are there: rxe0, rxe1"));
  settings.set_device("rxe0");
  settings.set_gid_index(77);
  EXPECT_THAT(std::string(Open("10.77.0.1:0", settings).message()),
              HasSubstr("port 1 of rxe0 has no GID 77; there are 0 (fe80::"));
  settings.set_gid_index(0);
  EXPECT_THAT(std::string(Open("10.77.0.1:0", settings).message()),
              HasSubstr("and not that of 10.77.0.1:0"));
  EXPECT_THAT(std::string(Open("10.77.0.3:0").message()),
              HasSubstr("no RDMA device has the address of 10.77.0.3:0"));
  EXPECT_THAT(std::string(Open("0.0.0.0:0").message()), HasSubstr("rxe0, rxe1; name one"));
  settings.clear_gid_index();
  EXPECT_TRUE(Open("0.0.0.0:0", settings).ok());
}

TEST(VerbsDevicesTest, WithoutPermissionItSaysSo) {
  ASSERT_TRUE(Shell("chmod 600 /dev/infiniband/uverbs*"));
  const std::string said = InAnotherProcess([] {
    if (setgid(65534) != 0 || setuid(65534) != 0) return std::string("cannot become nobody");
    return Open(kFirst).ToString();
  });
  EXPECT_TRUE(Shell("chmod 666 /dev/infiniband/uverbs*"));
  EXPECT_THAT(said, HasSubstr("PERMISSION_DENIED: cannot open /dev/infiniband/uverbs"));
  EXPECT_THAT(said, HasSubstr("chmod 666 /dev/infiniband/uverbs"));
}

TEST(VerbsDevicesTest, WithoutADeviceNodeItSaysSo) {
  ASSERT_TRUE(Shell("mkdir /dev/away && mv /dev/infiniband/uverbs* /dev/away"));
  const std::string said = Open(kFirst).ToString();
  EXPECT_TRUE(Shell("mv /dev/away/* /dev/infiniband && rmdir /dev/away"));
  EXPECT_THAT(said, HasSubstr("UNAVAILABLE: cannot open /dev/infiniband/uverbs"));
  EXPECT_THAT(said, HasSubstr("No such file or directory; udev makes it"));
  EXPECT_TRUE(Open(kFirst).ok());
}

TEST(VerbsDevicesTest, WithoutAnyDeviceItSaysHowToMakeOne) {
  ASSERT_TRUE(Shell("rdma link del rxe0 && rdma link del rxe1"));
  const absl::Status opened = Open(kFirst), probed = ProbeDevices();
  EXPECT_TRUE(
      Shell("rdma link add rxe0 type rxe netdev rv0 && "
            "rdma link add rxe1 type rxe netdev rv1"));
  EXPECT_EQ(opened.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(opened.message()), HasSubstr("no RDMA device"));
  EXPECT_THAT(std::string(opened.message()), HasSubstr("modprobe rdma_rxe && rdma link add"));
  EXPECT_EQ(probed, opened);
  EXPECT_TRUE(Eventually([] { return Open(kFirst).ok(); }));
}

TEST(VerbsDevicesTest, TooLittleLockedMemoryIsSaidWithTheCure) {
  const std::string said = InAnotherProcess([] {
    const rlimit limit = {.rlim_cur = 64 << 10, .rlim_max = 64 << 10};
    __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct none[2] = {};
    if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0 || syscall(SYS_capset, &header, none) != 0) {
      return std::string("cannot limit myself");
    }
    const auto nic = OpenNic({}, *Address::Parse(kFirst));
    if (!nic.ok()) return nic.status().ToString();
    BufferPool pool({.count = 256, .bytes = 4096});
    return (*nic)->Register(pool.region(), false).status().ToString();
  });
  EXPECT_THAT(said, HasSubstr("RESOURCE_EXHAUSTED: cannot register"));
  EXPECT_THAT(said, HasSubstr("may lock 64 KiB of memory (RLIMIT_MEMLOCK)"));
  EXPECT_THAT(said, HasSubstr("ulimit -l unlimited"));
}

// Takes events of `subscription` until `kind` comes.
bool Comes(Nic::Subscription& subscription, NicEvent::Kind kind) {
  return Eventually([&] {
    NicEvent event;
    return subscription.Take(absl::MakeSpan(&event, 1)) == 1 && event.kind == kind;
  });
}

TEST(VerbsEventsTest, AllSubscribersSeeThePortGoAndComeBack) {
  auto nic = *OpenNic({}, *Address::Parse(kFirst));
  const auto first = nic->Subscribe(), second = nic->Subscribe();
  NicEvent event;
  EXPECT_EQ(first->Take(absl::MakeSpan(&event, 1)), 0u);
  EXPECT_FALSE(IsReadable(first->wait_fd(), 0));

  ASSERT_TRUE(Shell("ip link set rv0 down"));
  EXPECT_TRUE(Eventually([&] { return IsReadable(second->wait_fd(), 0); }));
  EXPECT_TRUE(Comes(*first, NicEvent::Kind::kPortDown));
  // It has read the device's descriptor for both; the other one is still told.
  EXPECT_TRUE(IsReadable(second->wait_fd(), 0));
  const absl::Status down = Open(kFirst);
  EXPECT_EQ(down.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(down.message()), HasSubstr("port 1 of rxe0 is down"));

  ASSERT_TRUE(Shell("ip link set rv0 up"));
  EXPECT_TRUE(Comes(*first, NicEvent::Kind::kPortUp));
  EXPECT_TRUE(Comes(*second, NicEvent::Kind::kPortDown));
  EXPECT_TRUE(Comes(*second, NicEvent::Kind::kPortUp));
  EXPECT_TRUE(Eventually([&] {
    while (second->Take(absl::MakeSpan(&event, 1)) != 0) {
    }
    return !IsReadable(second->wait_fd(), 0);
  }));
  EXPECT_TRUE(Eventually([] { return Open(kFirst).ok(); }));
}

TEST(VerbsEventsTest, DatagramsGoOnAfterTheLinkWasDown) {
  End a(kFirst), b("10.77.0.2:0");
  auto from = *b.completions->OpenUdQueue({.send_slots = 32, .receive_slots = 32});
  auto to = *a.completions->OpenUdQueue({.send_slots = 32, .receive_slots = 32});
  std::vector<Buffer> receives, answers;
  for (int i = 0; i < 32; ++i) receives.push_back(a.pool.Allocate());
  for (int i = 0; i < 32; ++i) answers.push_back(b.pool.Allocate());
  ASSERT_EQ(to->PostReceives(absl::MakeSpan(receives)), 32u);
  ASSERT_EQ(from->PostReceives(absl::MakeSpan(answers)), 32u);
  const auto request = [](End& end, UdQueue& queue, UdQueue& other, Buffer& message) {
    UdSend send;
    message = end.pool.Allocate();
    message.Append(600);
    send.pieces[0] = end.PieceOf(message);
    send.path = *queue.OpenPath(other.address());
    send.qpn = other.address().qpn;
    send.qkey = other.address().qkey;
    return send;
  };
  Buffer message, answer;
  const UdSend send = request(b, *from, *to, message), back = request(a, *to, *from, answer);

  // Without its interface it has no route, which fails the queue pair of Soft-RoCE.
  ASSERT_TRUE(Shell("ip link set rv1 down"));
  UdReceived received;
  size_t sent = 0, complete = 0;
  // It takes nothing then, and nobody would wake a loop that went to sleep over it.
  EXPECT_TRUE(Eventually([&] {
    const size_t taken = from->Send({send});
    sent += taken;
    complete += from->TakeSent();
    return taken == 0 && complete == sent && !b.completions->Arm();
  }));
  EXPECT_TRUE(Eventually([&] {
    sent += from->Send({send, send, send});
    complete += from->TakeSent();
    EXPECT_EQ(from->Receive(absl::MakeSpan(&received, 1)), 0u);
    return from->counts().revivals >= 3;
  }));
  ASSERT_TRUE(Shell("$WEFT_RDMA_NETWORK up"));
  // As if nothing had been: both ways, under the same addresses, with all receives in place.
  EXPECT_TRUE(Eventually([&] {
    sent += from->Send({send});
    complete += from->TakeSent();
    from->Receive(absl::MakeSpan(&received, 1));
    return to->Receive(absl::MakeSpan(&received, 1)) == 1;
  })) << from->status();
  for (int i = 0; i < 32; ++i) {
    EXPECT_TRUE(Eventually([&] {
      to->TakeSent();
      to->Send({back});
      return from->Receive(absl::MakeSpan(&received, 1)) == 1;
    })) << i
        << " " << to->status();
  }
  EXPECT_TRUE(Eventually([&] { return (complete += from->TakeSent()) + 32 > sent; }));
  EXPECT_TRUE(from->status().ok()) << from->status();
}

}  // namespace
}  // namespace weft::rdma
