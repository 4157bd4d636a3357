// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/decorators/open.h"

#include <unistd.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/virtual_time.h"
#include "weft/transports/decorators/fake_port.h"
#include "weft/transports/registry.h"

namespace weft {
namespace {

FakeState* state = nullptr;

class FakeTransport : public Transport {
 public:
  absl::string_view name() const override { return "fake"; }
  const Capabilities& capabilities() const override { return capabilities_; }
  absl::StatusOr<std::unique_ptr<DatagramPort>> OpenDatagramPort(const PortOptions&) override {
    return std::make_unique<FakeDatagramPort>(*state);
  }
  absl::StatusOr<std::unique_ptr<FramePort>> OpenFramePort(const PortOptions&) override {
    return std::make_unique<FakeFramePort>(*state);
  }

 private:
  const Capabilities capabilities_{.datagrams = true,
                                   .streams = true,
                                   .frames = true,
                                   .max_payload_bytes = 1400,
                                   .reliable = true,
                                   .ordered = true};
};

const TransportRegistrar registrar(
    {.name = "fake",
     .summary = "for this test",
     .address_kinds = {Address::Kind::kIpv4},
     .capabilities = {},
     .probe = [] { return absl::OkStatus(); },
     .open = [](const config::Transport&) -> absl::StatusOr<std::unique_ptr<Transport>> {
       return std::make_unique<FakeTransport>();
     }});

class OpenTest : public testing::Test {
 protected:
  OpenTest() {
    state = &state_;
    config_.set_name("fake");
  }

  std::string Path(const std::string& name) {
    const std::string path = absl::StrCat(testing::TempDir(), "/open_", name);
    unlink(path.c_str());
    return path;
  }
  static size_t CountLines(const std::string& path) {
    std::ifstream file(path);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    return std::count(text.begin(), text.end(), '\n');
  }
  void AddTrace(const std::string& path) {
    config_.add_decorators()->mutable_trace()->set_path(path);
  }
  void AddLoss() { config_.add_decorators()->mutable_fault()->set_loss(1); }

  std::unique_ptr<Transport> Open() {
    auto transport = OpenTransport(config_);
    EXPECT_TRUE(transport.ok()) << transport.status();
    return *std::move(transport);
  }
  static void SendOne(DatagramPort& port) {
    Datagram one[] = {{Peer{{1, 0, 0}}, TextBuffer(port.pool(), "text")}};
    EXPECT_EQ(port.Send(absl::MakeSpan(one)), 1u);
  }

  FakeState state_;
  config::Transport config_;
};

TEST_F(OpenTest, WithoutDecoratorsItIsThePlainTransport) {
  const auto transport = Open();
  EXPECT_NE(dynamic_cast<FakeTransport*>(transport.get()), nullptr);
}

TEST_F(OpenTest, ErrorsOfOpeningPassThrough) {
  config_.set_name("nothing");
  AddLoss();
  EXPECT_EQ(OpenTransport(config_).status(),
            absl::NotFoundError("no transport 'nothing' in this program; it has fake"));
}

TEST_F(OpenTest, TheFirstDecoratorIsTheFirstThatASentPacketPasses) {
  const std::string before = Path("before");
  const std::string behind = Path("behind");
  AddTrace(before);
  AddLoss();
  AddTrace(behind);
  const auto transport = Open();
  EXPECT_EQ(transport->name(), "fake");
  {
    auto port = *transport->OpenDatagramPort({});
    SendOne(*port);
    state_.incoming = {"in"};
    Datagram in[1];
    EXPECT_EQ(port->Receive(absl::MakeSpan(in)), 1u);
  }
  EXPECT_EQ(CountLines(before), 2u);  // sent, lost; received
  EXPECT_EQ(CountLines(behind), 1u);  // received
  EXPECT_TRUE(state_.sent.empty());
}

TEST_F(OpenTest, FramesAreDecoratedToo) {
  const std::string path = Path("frames");
  config_.add_decorators()->mutable_pcap()->set_path(path);
  AddLoss();
  const auto transport = Open();
  auto port = *transport->OpenFramePort({});
  Buffer one[] = {TextBuffer(port->pool(), "frame")};
  EXPECT_EQ(port->Send(absl::MakeSpan(one)), 1u);
  EXPECT_TRUE(state_.sent.empty());
  EXPECT_EQ(port->mac(), (MacAddress{2, 0, 0, 0, 0, 9}));
  port.reset();
  EXPECT_GT(CountLines(path), 0u);
}

TEST_F(OpenTest, CapabilitiesTellWhatIsLeft) {
  AddTrace(Path("caps"));
  EXPECT_TRUE(Open()->capabilities().reliable);
  EXPECT_FALSE(Open()->capabilities().streams);
  AddLoss();
  EXPECT_FALSE(Open()->capabilities().reliable);
  EXPECT_FALSE(Open()->capabilities().ordered);
  EXPECT_EQ(Open()->capabilities().max_payload_bytes, 1400u);
}

TEST_F(OpenTest, StreamsWithDecoratorsAreAnError) {
  AddLoss();
  AddTrace(Path("streams"));
  EXPECT_EQ(Open()->OpenStreamPort({}).status(),
            absl::UnimplementedError(
                "transport 'fake' has no streams with decorators (fault, trace), which wrap "
                "datagrams and frames only; remove transport.decorators"));
}

TEST_F(OpenTest, EveryPortHasAFileOfItsOwn) {
  const std::string path = Path("files");
  for (const char* suffix : {".0", ".1", "-2"}) unlink(absl::StrCat(path, suffix).c_str());
  AddTrace(path);
  const auto transport = Open();
  {
    auto first = *transport->OpenDatagramPort({});
    auto second = *transport->OpenDatagramPort({});
    auto queue0 = *transport->OpenDatagramPort({.queue = 0, .queues = 2});
    auto queue1 = *transport->OpenDatagramPort({.queue = 1, .queues = 2});
    SendOne(*first);
    for (int i = 0; i < 2; ++i) SendOne(*second);
    for (int i = 0; i < 3; ++i) SendOne(*queue0);
    for (int i = 0; i < 4; ++i) SendOne(*queue1);
  }
  EXPECT_EQ(CountLines(path), 1u);
  EXPECT_EQ(CountLines(path + "-2"), 2u);
  EXPECT_EQ(CountLines(path + ".0"), 3u);
  EXPECT_EQ(CountLines(path + ".1"), 4u);
}

TEST_F(OpenTest, AFileThatCannotBeMadeIsAnErrorOfThePort) {
  config_.add_decorators()->mutable_pcap()->set_path("/no/such/dir/x");
  const auto transport = Open();
  EXPECT_EQ(transport->OpenDatagramPort({}).status().message(),
            "cannot write packets to '/no/such/dir/x': No such file or directory");
}

TEST_F(OpenTest, AnEmptyEntryIsAnError) {
  config_.add_decorators();
  EXPECT_EQ(Open()->OpenDatagramPort({}).status(),
            absl::InvalidArgumentError(
                "transport.decorators has an empty entry; give one of fault, trace, pcap"));
}

}  // namespace
}  // namespace weft
