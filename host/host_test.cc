// SPDX-License-Identifier: Apache-2.0
#include "weft/host/host.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <memory>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "weft/core/task_group.h"
#include "weft/host/host_test_util.h"
#include "weft/host/http_test_client.h"
#include "weft/transports/remote_memory/memory_client.h"

namespace weft {
namespace {

TEST(HostTest, EachWorkerIsAThreadWithALoop) {
  const auto host = MustOpen("host { workers: 3 }");
  std::vector<std::thread::id> threads(3);
  std::atomic<int> ran{0};
  std::atomic<int> ended{0};
  const absl::Status status = host->Run([&](Worker& worker) -> Application {
    const size_t i = static_cast<size_t>(worker.index());
    threads[i] = std::this_thread::get_id();
    EXPECT_EQ(worker.count(), 3);
    // Set-ups come in turn.
    for (size_t j = 0; j < 3; ++j) EXPECT_EQ(threads[j] == std::thread::id(), j > i);
    worker.loop().Post([&, i] {
      EXPECT_EQ(std::this_thread::get_id(), threads[i]);
      if (++ran == 3) worker.Stop();
    });
    return std::make_shared<AtEnd>([&, i] {
      EXPECT_EQ(std::this_thread::get_id(), threads[i]);
      ++ended;
    });
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(std::set(threads.begin(), threads.end()).size(), 3u);
  EXPECT_EQ(ran, 3);
  EXPECT_EQ(ended, 3);
}

TEST(HostTest, AFailedSetUpEndsAllAndNamesTheWorker) {
  const auto host = MustOpen("host { workers: 3 }");
  std::vector<int> set_up;
  int ended = 0;
  const absl::Status status = host->Run([&](Worker& worker) -> Application {
    set_up.push_back(worker.index());
    if (worker.index() == 1) return absl::NotFoundError("no such page");
    return std::make_shared<AtEnd>([&] { ++ended; });
  });
  EXPECT_EQ(status, absl::NotFoundError("worker 1: no such page"));
  EXPECT_EQ(set_up, std::vector<int>({0, 1}));
  EXPECT_EQ(ended, 1);
}

TEST(HostTest, MetricsThatClashFailTheSetUp) {
  const auto host = MustOpen("");
  Counter counter;
  const absl::Status status = host->Run([&](Worker& worker) -> Application {
    for (int i = 0; i < 2; ++i) {
      MetricGroup group(worker.metrics(), "x_", worker.labels());
      group.Add("total", "X.", &counter);
      worker.Show(std::move(group));
    }
    return nullptr;
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
}

TEST(HostTest, TheFirstErrorIsReturned) {
  const auto host = MustOpen("");
  const absl::Status status = host->Run([](Worker& worker) -> Application {
    worker.loop().Post([&worker] {
      worker.Stop();
      worker.Stop(absl::DataLossError("first"));
      worker.Stop(absl::DataLossError("second"));
    });
    return nullptr;
  });
  EXPECT_EQ(status, absl::DataLossError("first"));
}

TEST(HostTest, StopsBeforeItRuns) {
  const auto host = MustOpen("host { workers: 2 }");
  host->Stop();
  EXPECT_TRUE(host->Run([](Worker&) -> Application { return nullptr; }).ok());
  EXPECT_EQ(host->Run([](Worker&) -> Application { return nullptr; }).code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(HostTest, WorkersShareAFreePort) {
  const auto host = MustOpen("host { workers: 2 }");
  std::vector<Address> got[2];
  const absl::Status status = host->Run([&](Worker& worker) -> Application {
    auto ports = std::make_shared<std::vector<std::unique_ptr<DatagramPort>>>();
    for (int i = 0; i < 2; ++i) {
      auto port = worker.OpenDatagramPort(Address::Ipv4({127, 0, 0, 1}, 0));
      if (!port.ok()) return port.status();
      got[worker.index()].push_back((*port)->local_address());
      ports->push_back(*std::move(port));
    }
    if (worker.index() == 1) worker.Stop();
    return ports;
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(got[0], got[1]);
  EXPECT_NE(got[0][0], got[0][1]) << "what one worker opens twice is two ports";
}

TEST(HostTest, OpenRefusesWhatCannotRun) {
  EXPECT_EQ(Host::Open(FromText("host { workers: 0 }")).status().message(),
            "configuration: host.workers: 0 is out of range; give a whole number from 1 to 1024");
  EXPECT_EQ(Host::Open(FromText("transport { name: 'nothing' }")).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(Host::Open(FromText("metrics { listen: '256.1.1.1:1' }")).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(HostTest, ACoreThatIsNotThereIsAnError) {
  const auto host = MustOpen("host { cores: '4095' }");
  const absl::Status status = host->Run([](Worker&) -> Application { return nullptr; });
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StrContains(status.message(), "core 4095")) << status;
}

// Worker 0 sends worker 1 a datagram after an hour; each counts what it receives.
class Sender : public Pollable {
 public:
  Sender(Worker& worker, std::unique_ptr<DatagramPort> port, size_t* received)
      : worker_(worker), port_(std::move(port)), received_(*received), timer_(&Sender::Send, this) {
    worker_.loop().Add(this);
    const int64_t hour_ns = 3'600'000'000'000;
    if (worker_.index() == 0) {
      worker_.loop().timers().Schedule(timer_, worker_.loop().now_ns() + hour_ns);
    }
  }
  ~Sender() override { worker_.loop().Remove(this); }

  size_t Poll() override {
    Datagram in[1];
    const size_t n = port_->Receive(absl::MakeSpan(in));
    received_ += n;
    return n;
  }

 private:
  static void Send(void* self, int64_t) {
    DatagramPort& port = *static_cast<Sender*>(self)->port_;
    const auto to = port.Resolve(Address::Sim("worker-1"));
    ASSERT_TRUE(to.ok()) << to.status();
    Datagram out[] = {{*to, port.pool().Allocate()}};
    out[0].buffer.Append(5);
    EXPECT_EQ(port.Send(absl::MakeSpan(out)), 1u);
  }

  Worker& worker_;
  std::unique_ptr<DatagramPort> port_;
  size_t& received_;
  Timer timer_;
};

// Runs two of them; `received` gets their counts.
void RunSimulation(const std::string& text, size_t (*received)[2]) {
  const auto host = MustOpen(text);
  std::set<std::thread::id> threads;
  const absl::Status status = host->Run([&](Worker& worker) -> Application {
    threads.insert(std::this_thread::get_id());
    auto port = worker.transport().OpenDatagramPort(
        {.local = Address::Sim(absl::StrCat("worker-", worker.index()))});
    if (!port.ok()) return port.status();
    return std::make_shared<Sender>(worker, *std::move(port), &(*received)[worker.index()]);
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(threads.size(), 1u);
}

TEST(HostTest, ASimulationRunsOnOneThreadUntilNothingIsLeft) {
  size_t received[2] = {};
  RunSimulation("transport { name: 'sim' } host { workers: 2 }", &received);
  EXPECT_EQ(received[0], 0u);
  EXPECT_EQ(received[1], 1u);
}

TEST(HostTest, DecoratorsAreInTheWay) {
  size_t received[2] = {};
  RunSimulation(R"(
      transport { name: 'sim' decorators { fault { loss: 1 } } } host { workers: 2 })",
                &received);
  EXPECT_EQ(received[1], 0u);
}

TEST(HostTest, ASimulationCanBeStopped) {
  const auto host = MustOpen("transport { name: 'sim' }");
  const absl::Status status = host->Run([](Worker& worker) -> Application {
    worker.loop().Post([&worker] { worker.Stop(absl::AbortedError("enough")); });
    return nullptr;
  });
  EXPECT_EQ(status, absl::AbortedError("enough"));
}

TEST(HostTest, ShowsHealthAndMetricsOverHttp) {
  const auto host = MustOpen("host { workers: 2 } metrics { listen: '0' }");
  const std::string health = "GET /healthz HTTP/1.0\r\n\r\n";
  const std::string metrics = "GET /metrics HTTP/1.0\r\n\r\n";
  EXPECT_TRUE(absl::EndsWith(AskHttp(host->http_address(), health), "\r\n\r\nstarting\n"));

  std::thread client([&] {
    while (!absl::EndsWith(AskHttp(host->http_address(), health), "\r\n\r\nok\n")) {
      std::this_thread::yield();
    }
    // A worker that is up may still wait for a processor.
    const char* const not_begun = "weft_loop_iterations_total{worker=\"0\"} 0\n";
    std::string text;
    for (int i = 0; i < 1000; ++i) {
      text = AskHttp(host->http_address(), metrics);
      if (!absl::StrContains(text, not_begun)) break;
      std::this_thread::yield();
    }
    EXPECT_TRUE(absl::StrContains(text, MetricRegistry::kContentType)) << text;
    EXPECT_TRUE(absl::StrContains(
        text, "weft_port_sent_bytes_total{port=\"0\",transport=\"linux\",worker=\"1\"} 5\n"))
        << text;
    EXPECT_TRUE(absl::StrContains(text, "weft_loop_iterations_total{worker=\"0\"}")) << text;
    EXPECT_FALSE(absl::StrContains(text, not_begun)) << text;
    const std::string ports = AskHttp(host->http_address(), "GET /ports HTTP/1.0\r\n\r\n");
    EXPECT_TRUE(absl::StrContains(ports, "\"transport\": \"linux\"")) << ports;
    EXPECT_TRUE(absl::StrContains(ports, "\"sent_bytes\": 5,")) << ports;
    host->Stop();
  });
  const absl::Status status = host->Run([](Worker& worker) -> Application {
    auto port = worker.OpenDatagramPort(Address::Ipv4({127, 0, 0, 1}, 0));
    if (!port.ok()) return port.status();
    if (worker.index() == 1) {
      const auto self = (*port)->Resolve((*port)->local_address());
      if (!self.ok()) return self.status();
      Datagram out[] = {{*self, (*port)->pool().Allocate()}};
      std::memcpy(out[0].buffer.Append(5), "hello", 5);
      EXPECT_EQ((*port)->Send(absl::MakeSpan(out)), 1u);
    }
    worker.Show(**port);
    return std::shared_ptr<DatagramPort>(*std::move(port));
  });
  client.join();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_TRUE(absl::EndsWith(AskHttp(host->http_address(), health), "\r\n\r\nstopping\n"));
  EXPECT_FALSE(absl::StrContains(AskHttp(host->http_address(), metrics), "weft_port_sent"));
}

TEST(HostTest, TellsBrowsersAndProgramsOfItself) {
  const auto host = MustOpen("host { workers: 2 } metrics { listen: '0' }");
  const auto get = [&](const std::string& target) {
    return AskHttp(host->http_address(), absl::StrCat("GET ", target, " HTTP/1.0\r\n\r\n"));
  };
  EXPECT_TRUE(absl::StartsWith(get("/"), "HTTP/1.1 302 "));
  EXPECT_TRUE(absl::StrContains(get("/"), "\r\nLocation: /status\r\n"));
  const std::string page = get("/status");
  EXPECT_TRUE(
      absl::StrContains(page, "\r\nContent-Security-Policy: default-src 'none'; script-src "))
      << page;
  EXPECT_TRUE(absl::EndsWith(page, "</html>\n"));
  const std::string about = get("/host");
  for (const std::string& field :
       {absl::StrCat("\"pid\": ", getpid()), std::string("\"program\": \"host_test\""),
        std::string("\"transport\": \"linux\""), std::string("\"workers\": 2"),
        std::string("\"state\": \"starting\""), std::string("\"pages\": []")}) {
    EXPECT_TRUE(absl::StrContains(about, field)) << about;
  }
}

// Two ports of remote memory, one of which uses the other's.
struct SharedMemory {
  SharedMemory(Loop& loop, std::unique_ptr<RemoteMemory> owned, std::unique_ptr<RemoteMemory> used)
      : owner(loop, std::move(owned)), user(loop, std::move(used)) {}
  MemoryClient owner;
  MemoryClient user;
  TaskGroup tasks;
};

Task<void> UseMemory(Worker& worker, MemoryClient& owner, MemoryClient& user) {
  const MemoryRegion region = *owner.memory().Allocate(64);
  const absl::StatusOr<Peer> back = owner.memory().Resolve(user.memory().local_address());
  const absl::StatusOr<Peer> there = user.memory().Resolve(owner.memory().local_address());
  EXPECT_TRUE(back.ok() && there.ok()) << back.status() << there.status();
  const auto key =
      co_await owner.Grant(*back, region, 0, 64, MemoryAccess::kAtomic, absl::Seconds(20));
  EXPECT_TRUE(key.ok()) << key.status();
  const auto old = co_await user.FetchAdd(*there, key.value_or(RemoteKey()), 0, 3);
  EXPECT_TRUE(old.ok()) << old.status();
  EXPECT_EQ(region.bytes[0], 3);
  worker.Stop();
}

TEST(HostTest, WorkersHaveRemoteMemoryProtectedAsConfigured) {
  const std::string key = absl::StrCat(testing::TempDir(), "/memory.key");
  std::ofstream(key) << std::string(64, 'a') << "\n";
  ASSERT_EQ(chmod(key.c_str(), 0600), 0);
  for (const std::string& security :
       {std::string(), std::string("security { plaintext { } }"),
        absl::StrCat("security { psk { identity: 'all' key_file: '", key, "' } }")}) {
    SCOPED_TRACE(security);
    const auto host = MustOpen(security);
    const absl::Status status = host->Run([&](Worker& worker) -> Application {
      // Beyond this machine only where the configuration says how.
      EXPECT_EQ(worker.OpenRemoteMemory(*Address::Parse("0.0.0.0:0")).status().code(),
                security.empty() ? absl::StatusCode::kFailedPrecondition : absl::StatusCode::kOk);
      auto owned = worker.OpenRemoteMemory(*Address::Parse("127.0.0.1:0"));
      auto used = worker.OpenRemoteMemory(*Address::Parse("127.0.0.1:0"));
      if (!owned.ok()) return owned.status();
      if (!used.ok()) return used.status();
      auto memory =
          std::make_shared<SharedMemory>(worker.loop(), *std::move(owned), *std::move(used));
      worker.Show(memory->owner.memory());
      EXPECT_TRUE(
          absl::StrContains(worker.metrics().RenderPrometheus(), "weft_memory_executed_total"));
      memory->tasks.Spawn(UseMemory(worker, memory->owner, memory->user));
      return memory;
    });
    EXPECT_TRUE(status.ok()) << status;
  }
}

TEST(HostTest, WorkersDescribeWhatTheyHaveOnAPage) {
  const auto host = MustOpen("host { workers: 2 } metrics { listen: '0' }");
  const auto get = [&](const std::string& target) {
    return AskHttp(host->http_address(), absl::StrCat("GET ", target, " HTTP/1.0\r\n\r\n"));
  };
  EXPECT_TRUE(absl::StartsWith(get("/things"), "HTTP/1.1 404 "));
  std::thread client([&] {
    while (!absl::EndsWith(get("/healthz"), "\r\n\r\nok\n")) std::this_thread::yield();
    EXPECT_TRUE(absl::EndsWith(get("/things?limit=7"), R"([
  {
    "worker": 0,
    "items": [
      "a 7",
      "b"
    ]
  },
  {
    "worker": 1,
    "items": []
  }
]
)")) << get("/things?limit=7");
    EXPECT_TRUE(absl::StrContains(get("/things"), "\"a 20\"")) << "without a limit";
    EXPECT_TRUE(absl::EndsWith(get("/things?limit=1001"),
                               "limit: '1001' is not a whole number from 0 to 1000\n"));
    EXPECT_TRUE(absl::StartsWith(get("/thing"), "HTTP/1.1 404 "));
    host->Stop();
  });
  const absl::Status status = host->Run([](Worker& worker) -> Application {
    if (worker.index() > 0) return nullptr;
    const auto thread = std::this_thread::get_id();
    worker.Show("things", [thread](size_t limit, JsonWriter& json) {
      EXPECT_EQ(std::this_thread::get_id(), thread);
      json.Value(absl::StrCat("a ", limit));
    });
    worker.Show("things", [](size_t, JsonWriter& json) { json.Value("b"); });
    return nullptr;
  });
  client.join();
  EXPECT_TRUE(status.ok()) << status;
}

}  // namespace
}  // namespace weft
