// SPDX-License-Identifier: Apache-2.0
//
// TCP segments that the kernel's TCP sends and receives, over a TAP device, which completes
// checksums and cuts segments or does not, and over a packet socket on a veth pair. Skipped where
// the kernel does not let us make the network.
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/netstack/netstack_transport.h"
#include "weft/netstack/segment_test_util.h"
#include "weft/tools/testnet/testnet.h"
#include "weft/transports/linux/socket.h"
#include "weft/transports/registry.h"

namespace weft::netstack {
namespace {

using linux_transport::SocketAddress;
using testnet::Namespace;

constexpr int kPolls = 10'000;  // of a millisecond
constexpr uint16_t kOurPort = 50000;

enum class Device { kTap, kPlainTap, kPacket };

class TcpNetworkTest : public testing::TestWithParam<std::tuple<Device, bool>> {
 protected:
  static Device device() { return std::get<0>(GetParam()); }
  static bool v4() { return std::get<1>(GetParam()); }
  static IpAddress Ip(const char* text) { return IpAddress::Parse(text).value(); }
  static IpAddress ours() { return Ip(v4() ? "10.9.8.1" : "fd09::1"); }
  static IpAddress theirs() { return Ip(v4() ? "10.9.8.2" : "fd09::2"); }

  void SetUp() override {
    kernel_ = Namespace::Make();
    here_ = Namespace::Make();  // the thread is in this one now
    if (!kernel_.ok() || !here_.ok()) GTEST_SKIP() << kernel_.status() << here_.status();
    config::Transport config;
    config.set_name("linux");
    if (device() == Device::kPacket) {
      ASSERT_EQ(testnet::MakeVeth(*here_, "near0", *kernel_, "far0", {.ipv6 = true}),
                absl::OkStatus());
      ASSERT_EQ(here_->Ip("addr flush dev near0"), absl::OkStatus());
      config.mutable_linux()->mutable_packet()->set_interface("near0");
    } else {
      config.mutable_linux()->mutable_tap()->set_offload(device() == Device::kTap);
    }
    config::Netstack netstack;
    netstack.add_addresses("10.9.8.1/24");
    netstack.add_addresses("fd09::1/64");
    netstack.set_link_local(false);
    auto frames = OpenPlainTransport(config);
    if (!frames.ok()) GTEST_SKIP() << frames.status();
    transport_ = *NetstackTransport::Open(*std::move(frames), netstack, 1);
    auto stack = transport_->OpenStack();
    ASSERT_TRUE(stack.ok()) << stack.status();
    stack_ = *std::move(stack);
    handler_ = std::make_unique<TestHandler>(stack_.get());
    const std::string name = device() == Device::kPacket ? "far0" : stack_->device().device_name();
    for (const char* ip : {"10.9.8.2/24", "fd09::2/64"}) {
      ASSERT_EQ(there().AddAddress(name, ip), absl::OkStatus());
    }
    ASSERT_EQ(there().Ip(absl::StrCat("link set ", name, " up")), absl::OkStatus());
    ASSERT_EQ(testnet::WaitForLink(there(), name, true), absl::OkStatus());
  }
  void TearDown() override { handler_.reset(); }

  // Where the kernel's end is.
  const Namespace& there() const { return device() == Device::kPacket ? *kernel_ : *here_; }

  UniqueFd KernelSocket() const {
    const testnet::ScopedNamespace place(there());
    return UniqueFd(
        socket(v4() ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  }
  // A listening one, and its port.
  std::pair<UniqueFd, uint16_t> KernelListener() const {
    UniqueFd fd = KernelSocket();
    const SocketAddress any = linux_transport::ToSocketAddress(theirs().ToAddress(0));
    EXPECT_EQ(bind(fd.get(), &any.any, any.length), 0);
    EXPECT_EQ(listen(fd.get(), 8), 0);
    const SocketAddress name = linux_transport::BoundAddress(fd).value();
    return {std::move(fd), linux_transport::ToAddress(name).port()};
  }
  template <typename Done>
  bool Until(Done done) {
    for (int i = 0; i < kPolls; ++i) {
      stack_->PollSegments();
      if (done()) return true;
      poll(nullptr, 0, 1);
    }
    return false;
  }
  void Send(OutgoingSegment segment) {
    EXPECT_TRUE(Until([&] { return stack_->SendSegments({&segment, 1}) == 1; }));
  }
  OutgoingSegment Segment(const SegmentSpec& spec) {
    return {
        .buffer = FillSegment(stack_->Allocate(), spec), .source = ours(), .destination = theirs()};
  }
  // The next segment that was heard.
  std::optional<TestHandler::Heard> Hear() {
    if (!Until([this] { return next_heard_ < handler_->heard.size(); })) return std::nullopt;
    return handler_->heard[next_heard_++];
  }

  absl::StatusOr<Namespace> kernel_;
  absl::StatusOr<Namespace> here_;
  std::unique_ptr<NetstackTransport> transport_;
  std::shared_ptr<Stack> stack_;
  std::unique_ptr<TestHandler> handler_;
  size_t next_heard_ = 0;
};

std::string NameOf(const testing::TestParamInfo<std::tuple<Device, bool>>& info) {
  const Device device = std::get<0>(info.param);
  const char* const name = device == Device::kTap        ? "tap"
                           : device == Device::kPlainTap ? "plain_tap"
                                                         : "packet";
  return absl::StrCat(name, std::get<1>(info.param) ? "_ipv4" : "_ipv6");
}

INSTANTIATE_TEST_SUITE_P(Devices, TcpNetworkTest,
                         testing::Combine(testing::Values(Device::kTap, Device::kPlainTap,
                                                          Device::kPacket),
                                          testing::Bool()),
                         &NameOf);

TEST_P(TcpNetworkTest, AConnectionOfTheKernelIsRefused) {
  const UniqueFd client = KernelSocket();
  const SocketAddress name = linux_transport::ToSocketAddress(ours().ToAddress(80));
  ASSERT_EQ(connect(client.get(), &name.any, name.length), -1);
  ASSERT_EQ(errno, EINPROGRESS);
  int error = 0;
  ASSERT_TRUE(Until([&] {
    pollfd event = {client.get(), POLLOUT, 0};
    if (::poll(&event, 1, 0) != 1) return false;
    socklen_t length = sizeof(error);
    return getsockopt(client.get(), SOL_SOCKET, SO_ERROR, &error, &length) == 0;
  }));
  EXPECT_EQ(error, ECONNREFUSED);
  EXPECT_GE(handler_->strays, 1u);
  EXPECT_EQ(stack_->stats().bad_checksum.value(), 0u);
}

TEST_P(TcpNetworkTest, TheKernelRefusesOurs) {
  handler_->ports = {kOurPort};
  Send(Segment({.source_port = kOurPort, .destination_port = 9, .sequence = 1000}));
  const auto reset = Hear();
  ASSERT_TRUE(reset);
  EXPECT_EQ(reset->source, theirs());
  EXPECT_EQ(reset->bytes[kTcpFlagsOffset], kTcpReset | kTcpAck);
  EXPECT_EQ(Slice(reset->bytes, kTcpAcknowledgmentOffset, 4), FromHex("000003e9"));
}

// A connection by hand, and what is sent over it in one large segment.
TEST_P(TcpNetworkTest, TheKernelReceivesWhatIsCutUp) {
  const auto [listener, port] = KernelListener();
  handler_->ports = {kOurPort};
  SegmentSpec spec = {.source_port = kOurPort, .destination_port = port, .sequence = 1000};
  spec.options = FromHex("020405b4");
  OutgoingSegment syn = Segment(spec);
  syn.ecn = 0;
  syn.dscp = 8;
  Send(std::move(syn));
  const auto answer = Hear();
  ASSERT_TRUE(answer);
  TcpView tcp;
  ASSERT_TRUE(TcpView::Parse(answer->bytes, &tcp));
  ASSERT_EQ(tcp.flags(), kTcpSyn | kTcpAck);
  ASSERT_EQ(tcp.acknowledgment(), 1001u);
  spec = {.source_port = kOurPort,
          .destination_port = port,
          .sequence = 1001,
          .acknowledgment = tcp.sequence() + 1,
          .flags = kTcpAck};
  Send(Segment(spec));
  UniqueFd connection;
  ASSERT_TRUE(Until([&, fd = listener.get()] {
    connection = UniqueFd(accept4(fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    return static_cast<bool>(connection);
  }));

  const Bytes payload = Pattern(12'000);
  BufferPool large({.count = 1, .bytes = 66'000, .headroom = 128});
  Buffer buffer = FillSegment(large.Allocate(), spec, payload);
  buffer.offload() = {
      .flags = FrameOffload::kSegment, .l4_bytes = kTcpHeaderBytes, .segment_bytes = 1400};
  Buffer kept = buffer.Share();
  Send({.buffer = std::move(buffer), .source = ours(), .destination = theirs()});
  Bytes got;
  EXPECT_TRUE(Until([&] {
    uint8_t bytes[4096];
    const ssize_t n = read(connection.get(), bytes, sizeof(bytes));
    if (n > 0) got.insert(got.end(), bytes, bytes + n);
    return got.size() >= payload.size();
  }));
  EXPECT_EQ(got, payload);
  EXPECT_FALSE(kept.is_shared()) << "the device has let go";
  EXPECT_EQ(stack_->stats().segments_cut.value(), stack_->segmentation_offload() ? 0u : 1u);
  EXPECT_EQ(stack_->segmentation_offload(), device() != Device::kPlainTap);
  // And what the kernel sends is good.
  ASSERT_EQ(write(connection.get(), "answer", 6), 6);
  Bytes answered;
  while (answered.empty()) {
    const auto heard = Hear();
    ASSERT_TRUE(heard);
    answered = heard->payload();
  }
  EXPECT_EQ(answered, Bytes({'a', 'n', 's', 'w', 'e', 'r'}));
  EXPECT_EQ(stack_->stats().bad_checksum.value(), 0u);
}

}  // namespace
}  // namespace weft::netstack
