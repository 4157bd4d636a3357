// SPDX-License-Identifier: Apache-2.0
//
// Hosts with a network stack of their own, on a packet socket in a network of the test's; the
// kernel is their neighbour.
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "weft/core/loop.h"
#include "weft/core/unique_fd.h"
#include "weft/host/host.h"
#include "weft/host/http_client.h"
#include "weft/host/http_test_client.h"
#include "weft/tcp/connections.h"
#include "weft/tools/testnet/testnet.h"

namespace weft {
namespace {

using testnet::Namespace;
using Application = absl::StatusOr<std::shared_ptr<void>>;

std::unique_ptr<Host> MustOpen(const std::string& text) {
  config::Config config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &config)) << text;
  auto host = Host::Open(config, {.handle_signals = false});
  EXPECT_TRUE(host.ok()) << host.status();
  return *std::move(host);
}

// A port that is polled, so that its stack lives.
class Listener : public Pollable {
 public:
  Listener(Worker& worker, std::unique_ptr<DatagramPort> port)
      : worker_(worker), port_(std::move(port)) {
    worker_.loop().Add(this);
  }
  ~Listener() override { worker_.loop().Remove(this); }
  size_t Poll() override {
    Datagram in[8];
    return port_->Receive(absl::MakeSpan(in));
  }
  int wait_fd() const override { return port_->wait_fd(); }
  bool Arm() override { return port_->Arm(); }
  void Disarm() override { port_->Disarm(); }

 private:
  Worker& worker_;
  const std::unique_ptr<DatagramPort> port_;
};

Application Listen(Worker& worker, const std::string& address) {
  auto port = worker.OpenDatagramPort(Address::Parse(address).value());
  if (!port.ok()) return port.status();
  return std::make_shared<Listener>(worker, *std::move(port));
}

class HostNetTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    peer_ = new absl::StatusOr<Namespace>(Namespace::Make());
    own_ = new absl::StatusOr<Namespace>(Namespace::Make());
    if (!own_->ok()) return;
    const absl::Status made = MakeVeth(**own_, "weft0", **peer_, "kernel0", {.ipv6 = true});
    ASSERT_TRUE(made.ok()) << made;
    ASSERT_TRUE((*peer_)->AddAddress("kernel0", "10.0.0.1/24").ok());
    ASSERT_TRUE((*peer_)->AddAddress("kernel0", "fd00::1/64").ok());
  }
  void SetUp() override {
    if (!own_->ok()) GTEST_SKIP() << own_->status();
  }

  // Runs a host whose workers listen until `look` returns.
  static void RunWith(Host& host, const std::function<void()>& look) {
    std::atomic<int> up{0};
    std::thread looker([&] {
      while (up < host.workers()) std::this_thread::yield();
      look();
      host.Stop();
    });
    const absl::Status status = host.Run([&](Worker& worker) -> Application {
      auto application = Listen(worker, "10.0.0.2:7000");
      ++up;
      return application;
    });
    looker.join();
    EXPECT_TRUE(status.ok()) << status;
  }

  static HttpReply Get(Host& host, const std::string& target) {
    auto reply = HttpGet(host.http_address(), target);
    EXPECT_TRUE(reply.ok()) << reply.status();
    return reply.ok() ? *std::move(reply) : HttpReply();
  }

  static constexpr char kOneWorker[] = R"(
      transport {
        name: 'linux' linux { packet { interface: 'weft0' } } buffers { bytes: 16384 }
      }
      netstack { addresses: '10.0.0.2/24' addresses: 'fd00::2/64' }
      metrics { listen: '0' })";

  static absl::StatusOr<Namespace>* peer_;
  static absl::StatusOr<Namespace>* own_;
};
absl::StatusOr<Namespace>* HostNetTest::peer_;
absl::StatusOr<Namespace>* HostNetTest::own_;

TEST_F(HostNetTest, ShowsEachWorkersStack) {
  const auto host = MustOpen(absl::StrCat(kOneWorker, "host { workers: 2 }"));
  RunWith(*host, [&] {
    const HttpReply reply = Get(*host, "/net");
    EXPECT_EQ(reply.status, 200);
    for (const char* part :
         {"\"worker\": 0", "\"worker\": 1", "\"queue\": 1", "\"device\": \"weft0\"",
          "\"10.0.0.2/24\"", "\"local\": \"10.0.0.2:7000\"", "\"link_up\": true"}) {
      EXPECT_TRUE(absl::StrContains(reply.body, part)) << part << " in " << reply.body;
    }
    EXPECT_FALSE(absl::StrContains(reply.body, "error\"")) << reply.body;
  });
}

TEST_F(HostNetTest, SaysWhichWorkerDoesNotAnswer) {
  const auto host = MustOpen(absl::StrCat(kOneWorker, "host { workers: 2 }"));
  std::atomic<bool> stuck{false};
  std::atomic<bool> looked{false};
  std::thread looker([&] {
    while (!stuck) std::this_thread::yield();
    for (int i = 0; i < 2; ++i) {
      const HttpReply reply = Get(*host, "/net");
      EXPECT_TRUE(absl::StrContains(reply.body, "\"local\": \"10.0.0.2:7000\"")) << reply.body;
      EXPECT_TRUE(absl::StrContains(reply.body, "did not answer within 1000 ms")) << reply.body;
    }
    looked = true;
    // It shows again once it goes on.
    while (absl::StrContains(Get(*host, "/net").body, "did not answer")) {
    }
    host->Stop();
  });
  const absl::Status status = host->Run([&](Worker& worker) {
    if (worker.index() == 1) {
      worker.loop().Post([&] {
        stuck = true;
        while (!looked) std::this_thread::yield();
      });
    }
    return Listen(worker, "10.0.0.2:7000");
  });
  looker.join();
  EXPECT_TRUE(status.ok()) << status;
}

class EchoHandler final : public tcp::ConnectionHandler {
 public:
  void OnData(tcp::Connection& connection) override {
    for (auto in = connection.ReadView(); !in.empty(); in = connection.ReadView()) {
      const size_t n = connection.Send(in);
      connection.Consume(n);
      if (n < in.size()) return;
    }
    if (connection.remote_closed()) connection.Close();
  }
  void OnWritable(tcp::Connection& connection) override { OnData(connection); }
  void OnRemoteClose(tcp::Connection& connection) override { OnData(connection); }
};

Application ListenForStreams(Worker& worker) {
  auto port = worker.OpenStreamPort();
  if (!port.ok()) return port.status();
  auto connections = std::make_shared<tcp::Connections>(worker.loop(), *std::move(port));
  const auto address =
      connections->Listen(*Address::Parse("10.0.0.2:80"), 16, [](tcp::Connection connection) {
        std::move(connection).Serve(std::make_unique<EchoHandler>());
      });
  if (!address.ok()) return address.status();
  return connections;
}

TEST_F(HostNetTest, ShowsItsTcp) {
  if (!(*peer_)->Run("which nc").ok()) GTEST_SKIP() << "nc is not installed";
  const auto host = MustOpen(absl::StrCat(kOneWorker, "host { workers: 2 }"));
  std::atomic<int> up{0};
  std::thread looker([&] {
    while (up < host->workers()) std::this_thread::yield();
    auto silent = (*peer_)->Start("sleep 60 | nc -p 7777 10.0.0.2 80");
    const char* const both =
        "/tcp?state=ESTABLISHED,close-wait&local=10.0.0.0/24:80"
        "&remote=10.0.0.1:7777";
    for (int i = 0; i < 1000 && !absl::StrContains(Get(*host, both).body, ":7777\""); ++i) {
    }
    const std::string seen = Get(*host, both).body;
    for (const char* part :
         {"\"worker\":0", "\"worker\":1", "\"state\":\"ESTABLISHED\"", "\"matching\":1",
          "\"local\":\"10.0.0.2:80\"", "\"remote\":\"10.0.0.1:7777\"", "\"backlog\":16",
          "\"congestion_control\":\"cubic\"", "\"send_mss_bytes\":1448", "\"passive_opens\":1"}) {
      EXPECT_TRUE(absl::StrContains(seen, part)) << part << " in " << seen;
    }
    EXPECT_FALSE(absl::StrContains(seen, "error\"")) << seen;
    for (const char* other :
         {"state=time-wait", "local=:81", "local=[fd00::2]:80", "remote=10.0.0.2", "limit=0"}) {
      const std::string none = Get(*host, absl::StrCat("/tcp?", other)).body;
      EXPECT_FALSE(absl::StrContains(none, "10.0.0.1:7777")) << other << none;
    }
    const std::string metrics = Get(*host, "/metrics").body;
    EXPECT_TRUE(absl::StrContains(metrics, "weft_tcp_established{worker=\"1\"}")) << metrics;
    EXPECT_TRUE(absl::StrContains(metrics, "weft_tcp_passive_opens_total{")) << metrics;
    EXPECT_TRUE(absl::StrContains(Get(*host, "/host").body, "\"tcp\""));
    const auto expect = [&](const char* query, const char* why) {
      const HttpReply reply = Get(*host, absl::StrCat("/tcp?", query));
      EXPECT_EQ(reply.status, 400) << query;
      EXPECT_TRUE(absl::StrContains(reply.body, why)) << query << ": " << reply.body;
    };
    expect("state=OPEN", "state: 'OPEN' is no state of TCP, such as ESTABLISHED");
    expect("limit=10001", "limit: '10001' is not a whole number from 0 to 10000");
    for (const char* end : {"", "x", "10.0.0.0/33", "10.0.0.1:", "10.0.0.1:65536", "[fd00::1",
                            "[]:1", "[fd00::1]80", ":0", "10.0.0.1:80:80"}) {
      expect(absl::StrCat("local=", end).c_str(), "is none of ADDRESS, NETWORK/LENGTH, :PORT");
    }
    host->Stop();
  });
  const absl::Status status = host->Run([&](Worker& worker) -> Application {
    auto application = ListenForStreams(worker);
    ++up;
    return application;
  });
  looker.join();
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(HostNetTest, StreamsRunOverTheStack) {
  if (!(*peer_)->Run("which nc").ok()) GTEST_SKIP() << "nc is not installed";
  const auto host = MustOpen(
      absl::StrCat(kOneWorker, "host { workers: 2 } tcp { congestion_control: 'new_reno' }"));
  ASSERT_NE(host->tcp(), nullptr);
  std::atomic<int> up{0};
  std::thread looker([&] {
    while (up < host->workers()) std::this_thread::yield();
    for (int i = 0; i < 10; ++i) {
      const auto echo = (*peer_)->Run("seq 100000 | nc -N 10.0.0.2 80 | cksum; seq 100000 | cksum");
      EXPECT_TRUE(echo.ok()) << echo.output;
      const size_t half = echo.output.size() / 2;
      EXPECT_EQ(echo.output.substr(0, half), echo.output.substr(half));
    }
    host->Stop();
  });
  const absl::Status status = host->Run([&](Worker& worker) -> Application {
    auto application = ListenForStreams(worker);
    ++up;
    return application;
  });
  looker.join();
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(HostNetTest, PingsTheKernel) {
  const auto host = MustOpen(kOneWorker);
  RunWith(*host, [&] {
    for (const char* target : {"/net/ping?address=10.0.0.1&count=3&interval_ms=10",
                               "/net/ping?address=10.0.0.1&count=3&interval_ms=10&size=8000",
                               "/net/ping?address=10.0.0.1&count=3&interval_ms=10&size=65507",
                               "/net/ping?address=fd00::1&count=3&interval_ms=10&size=0",
                               "/net/ping?address=10.0.0.2&count=3&interval_ms=10"}) {
      const HttpReply reply = Get(*host, target);
      EXPECT_EQ(reply.status, 200);
      EXPECT_TRUE(absl::StrContains(reply.body, "\"replies\": 3")) << target << reply.body;
    }
    const HttpReply nobody = Get(*host, "/net/ping?address=10.0.0.9");
    EXPECT_TRUE(absl::StrContains(nobody.body, "\"replies\": 0")) << nobody.body;
    EXPECT_TRUE(absl::StrContains(nobody.body, "\"error\": \"")) << nobody.body;
  });
}

TEST_F(HostNetTest, OnePingWaitsForAWorkerThatIsStuck) {
  const auto host = MustOpen(kOneWorker);
  std::atomic<bool> stuck{false};
  std::atomic<bool> refused{false};
  std::thread looker([&] {
    while (!stuck) std::this_thread::yield();
    const UniqueFd first = ConnectTo(host->http_address());
    Put(first, "GET /net/ping?address=10.0.0.1 HTTP/1.0\r\n\r\n");
    const HttpReply second = Get(*host, "/net/ping?address=10.0.0.1");
    EXPECT_EQ(second.status, 503);
    EXPECT_TRUE(absl::StrContains(second.body, "another ping waits")) << second.body;
    refused = true;
    const std::string reply = weft::Get(first);
    EXPECT_TRUE(absl::StrContains(reply, "\"replies\": 1")) << reply;
    host->Stop();
  });
  const absl::Status status = host->Run([&](Worker& worker) {
    worker.loop().Post([&] {
      stuck = true;
      while (!refused) std::this_thread::yield();
    });
    return Listen(worker, "10.0.0.2:7000");
  });
  looker.join();
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(HostNetTest, SaysWhatIsWrongWithAPing) {
  const auto host = MustOpen(kOneWorker);
  RunWith(*host, [&] {
    const auto expect = [&](const char* query, int status, const char* why) {
      const HttpReply reply = Get(*host, absl::StrCat("/net/ping", query));
      EXPECT_EQ(reply.status, status) << query;
      EXPECT_TRUE(absl::StrContains(reply.body, why)) << query << ": " << reply.body;
    };
    expect("", 400, "give the query an address: /net/ping?address=10.0.0.1");
    expect("?address=10.0.0", 400, "'10.0.0' is not an IP address");
    expect("?address=10.0.0.1&count=0", 400, "count: '0' is not a whole number from 1 to 100");
    expect("?address=10.0.0.1&size=x", 400, "size: 'x' is not a whole number from 0 to 65507");
    expect("?address=10.0.0.1&count=100", 400, "100 requests every 200 ms take too long");
    expect("?address=10.0.0.1&size=65508", 400,
           "size: '65508' is not a whole number from 0 to 65507");
    expect("?address=192.0.2.1", 503, "no route to 192.0.2.1 from weft0 (10.0.0.2/24");
  });
}

TEST_F(HostNetTest, WorkersShareAFreePort) {
  const auto host = MustOpen(absl::StrCat(kOneWorker, "host { workers: 2 }"));
  Address got[2];
  const absl::Status status = host->Run([&](Worker& worker) -> Application {
    auto port = worker.OpenDatagramPort(Address::Ipv4({10, 0, 0, 2}, 0));
    if (!port.ok()) return port.status();
    got[worker.index()] = (*port)->local_address();
    auto client = worker.OpenDatagramPort();
    if (!client.ok()) return client.status();
    EXPECT_NE((*client)->local_address(), got[worker.index()]);
    if (worker.index() == 1) worker.Stop();
    return std::shared_ptr<DatagramPort>(*std::move(port));
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(got[0], got[1]);
  EXPECT_NE(got[0].port(), 0);
}

TEST_F(HostNetTest, AWrongAddressNamesTheInterfaceAndWhatItHas) {
  const auto host = MustOpen(kOneWorker);
  const absl::Status status =
      host->Run([](Worker& worker) { return Listen(worker, "10.0.0.3:7000"); });
  EXPECT_TRUE(absl::StrContains(status.message(), "10.0.0.3 is no address of weft0 (10.0.0.2/24"))
      << status;
}

TEST(HostWithoutNetstackTest, SaysSo) {
  const auto host = MustOpen("metrics { listen: '0' }");
  for (const char* target : {"/net", "/net/ping?address=10.0.0.1"}) {
    const auto reply = HttpGet(host->http_address(), target);
    ASSERT_TRUE(reply.ok()) << reply.status();
    EXPECT_EQ(reply->status, 404);
    EXPECT_EQ(reply->body,
              "this host has no network stack of its own: its configuration has no netstack "
              "section\n");
  }
  const auto reply = HttpGet(host->http_address(), "/tcp");
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->status, 404);
  EXPECT_TRUE(absl::StartsWith(reply->body, "this host has no TCP of its own")) << reply->body;
}

}  // namespace
}  // namespace weft
