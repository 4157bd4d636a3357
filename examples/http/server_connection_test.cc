// SPDX-License-Identifier: Apache-2.0
//
// The server over a simulated network, whose clock makes its time limits exact.
#include "weft/examples/http/server_connection.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/config/config.h"
#include "weft/core/allocation_counter.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/core/temp_directory.h"
#include "weft/core/timer_wheel.h"
#include "weft/core/virtual_time.h"
#include "weft/tcp/connections.h"
#include "weft/transports/decorators/open.h"

namespace weft::http {
namespace {

constexpr int64_t kSecondNs = 1'000'000'000;

// A client that sends what it is told to and keeps what comes back.
struct Client {
  std::string received;
  bool reads = true;
  bool ended = false;  // by the server, in good order or not
  int error = 0;
  tcp::Connection* connection = nullptr;

  void Send(absl::string_view text) {
    ASSERT_NE(connection, nullptr);
    ASSERT_EQ(connection->Send({reinterpret_cast<const uint8_t*>(text.data()), text.size()}),
              text.size());
  }
  // How many answers of this status there are.
  int Count(const std::string& line) const {
    int n = 0;
    for (size_t at = received.find(line); at != std::string::npos;
         at = received.find(line, at + 1)) {
      ++n;
    }
    return n;
  }
};

class ClientHandler : public tcp::ConnectionHandler {
 public:
  explicit ClientHandler(Client& client) : client_(client) {}
  void OnConnected(tcp::Connection& connection) override { client_.connection = &connection; }
  void OnData(tcp::Connection& connection) override {
    if (!client_.reads) return;
    for (auto in = connection.ReadView(); !in.empty(); in = connection.ReadView()) {
      client_.received.append(reinterpret_cast<const char*>(in.data()), in.size());
      connection.Consume(in.size());
    }
  }
  void OnRemoteClose(tcp::Connection& connection) override {
    client_.ended = true;
    client_.connection = nullptr;
    connection.Close();
  }
  void OnReset(tcp::Connection&, int error) override {
    client_.ended = true;
    client_.connection = nullptr;
    client_.error = error;
  }

 private:
  Client& client_;
};

class ServerConnectionTest : public testing::Test {
 protected:
  explicit ServerConnectionTest(const Address& address = Address::Sim("httpd")) {
    std::filesystem::create_directories(directory_.path() + "/dir");
    Write("index.html", "<p>index</p>");
    Write("dir/a b.txt", "0123456789");
    for (int i = 0; large_.size() < 3'000'000; ++i) absl::StrAppend(&large_, i, " ");
    Write("large", large_);
    config::Transport config;
    config.set_name(address.is_ip() ? "linux" : "sim");
    transport_ = *OpenTransport(config);
    const Clock* virtual_clock = transport_->virtual_time();
    loop_ = std::make_unique<Loop>(LoopOptions(),
                                   virtual_clock != nullptr ? *virtual_clock : RealClock());
    cache_ = *FileCache::Open({.root = directory_.path()});
    server_ = std::make_unique<tcp::Connections>(*loop_, *transport_->OpenStreamPort({}));
    client_ = std::make_unique<tcp::Connections>(*loop_, *transport_->OpenStreamPort({}));
    site_ = std::make_unique<Site>(*loop_, *cache_, SiteOptions());
    address_ = *server_->Listen(address, 64, [this](tcp::Connection connection) {
      std::move(connection).Serve(std::make_unique<ServerConnection>(*site_));
    });
  }

  void Write(const std::string& name, const std::string& content) {
    std::ofstream(directory_.path() + "/" + name) << content;
  }
  bool Until(absl::FunctionRef<bool()> done) {
    return RunVirtual(*transport_->virtual_time(), {loop_.get()}, done);
  }
  // Lets time pass.
  void Pass(int64_t ns) {
    bool over = false;
    Timer timer([](void* over, int64_t) { *static_cast<bool*>(over) = true; }, &over);
    loop_->timers().Schedule(timer, transport_->virtual_time()->NowNs() + ns);
    Until([&over] { return over; });
  }
  void Connect(Client& client) {
    ASSERT_EQ(client_->Connect(address_, std::make_unique<ClientHandler>(client)),
              absl::OkStatus());
    ASSERT_TRUE(Until([&] { return client.connection != nullptr; }));
  }
  // All that the server answers to `text` in a second.
  std::string Ask(absl::string_view text) {
    Client client;
    Connect(client);
    client.Send(text);
    Pass(kSecondNs);
    if (client.connection != nullptr) client.connection->Abort();
    Pass(kSecondNs);
    return client.received;
  }
  static std::string Get(absl::string_view path, absl::string_view fields = "") {
    return absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: h\r\n", fields, "\r\n");
  }

  const TempDirectory directory_;
  std::string large_;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<FileCache> cache_;
  std::unique_ptr<Site> site_;  // outlives its connections
  std::unique_ptr<tcp::Connections> server_;
  std::unique_ptr<tcp::Connections> client_;
  Address address_;
};

TEST_F(ServerConnectionTest, FilesAndWhatIsSaidOfThem) {
  const std::string answer = Ask(Get("/"));
  EXPECT_TRUE(absl::StartsWith(answer, "HTTP/1.1 200 OK\r\n")) << answer;
  EXPECT_TRUE(absl::EndsWith(answer, "\r\n\r\n<p>index</p>")) << answer;
  for (const char* field : {"Content-Type: text/html; charset=utf-8\r\n", "Content-Length: 12\r\n",
                            "ETag: \"", "Last-Modified: ", "Accept-Ranges: bytes\r\n", "Date: "}) {
    EXPECT_TRUE(absl::StrContains(answer, field)) << field << answer;
  }
  EXPECT_FALSE(absl::StrContains(answer, "Connection:")) << answer;
  EXPECT_TRUE(absl::EndsWith(Ask(Get("/dir/a%20b.txt?x")), "\r\n\r\n0123456789"));
  const std::string head = Ask("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_TRUE(absl::StrContains(head, "Content-Length: 12\r\n")) << head;
  EXPECT_TRUE(absl::EndsWith(head, "\r\n\r\n")) << head;
  EXPECT_TRUE(absl::StrContains(Ask(Get("//dir?q=1")), "Location: /dir/?q=1\r\n"));
}

TEST_F(ServerConnectionTest, StatusOfEachRefusal) {
  for (const auto& [request, status] : std::vector<std::pair<std::string, int>>{
           {"nonsense\r\n\r\n", 400},
           {Get("/%"), 400},
           {Get("/../etc/passwd"), 403},
           {Get("/dir/"), 403},
           {Get("/none"), 404},
           {Get("/..%2fetc"), 404},
           {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab", 405},
           {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411},
           {Get("/", "If-Match: \"no\"\r\n"), 412},
           {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999\r\n\r\n", 413},
           {Get("/" + std::string(9000, 'a')), 414},
           {Get("/dir/a%20b.txt", "Range: bytes=10-\r\n"), 416},
           {Get("/", "Expect: the unexpected\r\n"), 417},
           {Get("/", "A: " + std::string(9000, 'a') + "\r\n"), 431},
           {"BREW / HTTP/1.1\r\nHost: h\r\n\r\n", 501},
           {"GET / HTTP/3.0\r\nHost: h\r\n\r\n", 505}}) {
    const std::string answer = Ask(request);
    EXPECT_TRUE(absl::StartsWith(answer, absl::StrCat("HTTP/1.1 ", status, " "))) << answer;
    EXPECT_TRUE(absl::StrContains(answer, absl::StrCat("\r\n\r\n", status, " "))) << answer;
  }
  EXPECT_GT(site_->stats.answers_4xx.value(), 10u);
}

TEST_F(ServerConnectionTest, PipelinedRequestsInPiecesOfAllSizes) {
  const std::string requests = Get("/dir/a%20b.txt") + "\r\n" + Get("/none") +
                               "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc" +
                               "HEAD / HTTP/1.1\nHost: h\n\n" +
                               Get("/dir/a%20b.txt", "Range: bytes=2-4\r\nConnection: close\r\n") +
                               Get("/");
  for (const size_t size : {size_t{1}, size_t{7}, requests.size()}) {
    Client client;
    Connect(client);
    for (size_t at = 0; at < requests.size(); at += size) {
      if (client.connection == nullptr) break;
      client.Send(absl::string_view(requests).substr(at, size));
      if (size > 1) Pass(kSecondNs / 100);
    }
    EXPECT_TRUE(Until([&] { return client.ended; }));
    std::string statuses;
    for (size_t at = client.received.find("HTTP/1.1 "); at != std::string::npos;
         at = client.received.find("HTTP/1.1 ", at + 1)) {
      absl::StrAppend(&statuses, client.received.substr(at + 9, 4));
    }
    EXPECT_EQ(statuses, "200 404 405 200 206 ") << size;
    EXPECT_TRUE(absl::EndsWith(client.received, "\r\n\r\n234")) << client.received;
    EXPECT_EQ(client.error, 0);
  }
}

TEST_F(ServerConnectionTest, Conditions) {
  const std::string answer = Ask(Get("/"));
  const size_t at = answer.find("ETag: ") + 6;
  const std::string etag = answer.substr(at, answer.find("\r\n", at) - at);
  const std::string unchanged = Ask(Get("/", "If-None-Match: " + etag + "\r\n"));
  EXPECT_TRUE(absl::StartsWith(unchanged, "HTTP/1.1 304 ")) << unchanged;
  EXPECT_TRUE(absl::StrContains(unchanged, etag)) << unchanged;
  EXPECT_TRUE(absl::EndsWith(unchanged, "\r\n\r\n")) << unchanged;
  EXPECT_TRUE(absl::StartsWith(Ask(Get("/", "Range: bytes=0-1\r\nIf-Range: " + etag + "\r\n")),
                               "HTTP/1.1 206 "));
  EXPECT_TRUE(absl::StartsWith(Ask(Get("/", "Range: bytes=0-1\r\nIf-Range: \"old\"\r\n")),
                               "HTTP/1.1 200 "));
  EXPECT_TRUE(absl::StartsWith(Ask(Get("/", "Range: bytes=0-1,3-4\r\n")), "HTTP/1.1 200 "));
}

TEST_F(ServerConnectionTest, ALargeFileAndWhatIsLeftOfIt) {
  for (const std::string range : {"", "Range: bytes=1234567-\r\n"}) {
    Client client;
    Connect(client);
    client.Send(Get("/large", range + "Connection: close\r\n"));
    EXPECT_TRUE(Until([&] { return client.ended; }));
    const size_t body = client.received.find("\r\n\r\n") + 4;
    const std::string expected = range.empty() ? large_ : large_.substr(1234567);
    EXPECT_TRUE(client.received.substr(body) == expected) << client.received.substr(0, body);
  }
}

TEST_F(ServerConnectionTest, HowLongClientsMayTake) {
  Client idle;
  Client slow;
  Client deaf;
  deaf.reads = false;
  for (Client* client : {&idle, &slow, &deaf}) Connect(*client);
  idle.Send(Get("/"));
  deaf.Send(Get("/large"));
  slow.Send("GET / HT");
  Pass(5 * kSecondNs);
  slow.Send("TP/1.1\r\n");  // no help: the time is that of the whole request
  Pass(6 * kSecondNs);
  EXPECT_TRUE(slow.ended);
  EXPECT_EQ(slow.Count("HTTP/1.1 408 "), 1) << slow.received;
  EXPECT_FALSE(deaf.ended);
  Pass(25 * kSecondNs);
  EXPECT_TRUE(deaf.ended);
  EXPECT_NE(deaf.error, 0);
  EXPECT_FALSE(idle.ended);
  idle.Send(Get("/"));
  Pass(59 * kSecondNs);
  EXPECT_FALSE(idle.ended);
  Pass(2 * kSecondNs);
  EXPECT_TRUE(idle.ended);
  EXPECT_EQ(idle.error, 0);
  EXPECT_EQ(idle.Count("HTTP/1.1 200 "), 2);
  EXPECT_EQ(site_->stats.timeouts.value(), 3u);
  Client silent;
  Connect(silent);
  Pass(61 * kSecondNs);
  EXPECT_TRUE(silent.ended);
  EXPECT_TRUE(Until([&] { return server_->size() == 0; }));
}

TEST_F(ServerConnectionTest, AClientThatHasSentAllStillGetsItsAnswers) {
  Client client;
  Connect(client);
  client.Send(Get("/dir/a%20b.txt") + Get("/large"));
  client.connection->CloseWrite();
  EXPECT_TRUE(Until([&] { return client.ended; }));
  EXPECT_EQ(client.Count("HTTP/1.1 200 "), 2);
  EXPECT_EQ(client.error, 0);
  EXPECT_TRUE(absl::EndsWith(client.received, large_));
}

// Asks again for each answer that it gets.
class Asker : public tcp::ConnectionHandler {
 public:
  Asker(std::string request, std::string end, int* answers)
      : request_(std::move(request)), end_(std::move(end)), answers_(answers) {}
  void OnConnected(tcp::Connection& connection) override {
    connection.Send({reinterpret_cast<const uint8_t*>(request_.data()), request_.size()});
  }
  void OnData(tcp::Connection& connection) override {
    const auto in = connection.ReadView();
    const absl::string_view text(reinterpret_cast<const char*>(in.data()), in.size());
    if (!absl::EndsWith(text, end_)) return;
    ++*answers_;
    connection.Consume(in.size());
    OnConnected(connection);
  }

 private:
  const std::string request_;
  const std::string end_;
  int* const answers_;
};

// Over the kernel's TCP: the simulated network itself allocates.
class ServerMemoryTest : public ServerConnectionTest {
 protected:
  ServerMemoryTest() : ServerConnectionTest(Address::Ipv4({127, 0, 0, 1}, 0)) {}
};

TEST_F(ServerMemoryTest, AnswersFromTheCacheAllocateNothing) {
  int answers = 0;
  ASSERT_EQ(client_->Connect(address_, std::make_unique<Asker>(
                                           Get("/dir/../dir/a%20b.txt?and=a&long=query&string=too"),
                                           "0123456789", &answers)),
            absl::OkStatus());
  const auto ask = [&](int until) {
    for (int rounds = 0; answers < until && rounds < 100'000'000; ++rounds) loop_->RunOnce();
    ASSERT_EQ(answers, until);
  };
  ask(100);
  const int64_t before = AllocationsOfThisThread();
  ask(1100);
  // The date is made anew each second.
  EXPECT_LT(AllocationsOfThisThread() - before, 100);
}

}  // namespace
}  // namespace weft::http
