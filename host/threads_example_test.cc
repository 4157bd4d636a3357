// SPDX-License-Identifier: Apache-2.0
//
// The program whose parts docs/threads.md shows.
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"
#include "weft/core/thread_pool.h"
#include "weft/host/host.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"

namespace weft {
namespace {

absl::Span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// Inline: runs to its end while the loop waits.
void Echo(rpc::ServerCall call) { (void)call.Reply(std::move(call.request())); }

// Blocking work goes to the pool.
Task<void> Read(ThreadPool& pool, rpc::ServerCall call) {
  auto read = pool.Run(call.loop(), [path = call.request().ToString()] { return ReadFile(path); });
  const absl::StatusOr<std::string> text = co_await read;
  if (!text.ok() || !call.Reply(Bytes(*text)).ok()) call.Drop();
}

// Calls of its own, and a pause, while the loop goes on.
Task<void> Relay(rpc::Client& client, Peer next, rpc::ServerCall call) {
  const std::string request = call.request().ToString();
  for (int attempt = 0; attempt < 3; ++attempt) {
    absl::StatusOr<BufferChain> reply =
        co_await client.Call(next, Bytes(request), {.deadline_ns = call.deadline_ns()});
    if (reply.ok()) {
      (void)call.Reply(*std::move(reply));
      co_return;
    }
    co_await call.loop().Sleep(absl::Milliseconds(1 << attempt));
  }
  call.Drop();
}

// A worker's part of the program. Members go in reverse order: first the servers, and with them
// coroutines that use the client.
struct Application {
  std::unique_ptr<rpc::Client> client;
  std::unique_ptr<rpc::Server> echo;
  std::unique_ptr<rpc::Server> read;
  std::unique_ptr<rpc::Server> relay;
  TaskGroup tasks;
};

template <typename Handler>
std::unique_ptr<rpc::Server> Listen(Worker& worker, Handler handler) {
  auto port = worker.transport().OpenDatagramPort({.local = Address::Ipv4({127, 0, 0, 1}, 0)});
  return *rpc::Server::Create(worker.loop(), *std::move(port), {}, std::move(handler));
}

std::shared_ptr<Application> Build(Worker& worker, ThreadPool& pool) {
  auto application = std::make_shared<Application>();
  auto port = worker.OpenDatagramPort();
  application->client = *rpc::Client::Create(worker.loop(), *std::move(port), {});
  rpc::Client& client = *application->client;
  application->echo = Listen(worker, &Echo);
  application->read =
      Listen(worker, [&pool](rpc::ServerCall call) { return Read(pool, std::move(call)); });
  const Peer next = *client.Resolve(application->read->port().local_address());
  application->relay = Listen(worker, [&client, next](rpc::ServerCall call) {
    return Relay(client, next, std::move(call));
  });
  return application;
}

Task<void> Ask(Application& application, std::string path, std::function<void()> done) {
  rpc::Client& client = *application.client;
  rpc::Server* const servers[] = {application.echo.get(), application.relay.get()};
  for (rpc::Server* server : servers) {
    const Peer peer = *client.Resolve(server->port().local_address());
    const absl::StatusOr<BufferChain> reply = co_await client.Call(peer, Bytes(path));
    const std::string expected = server == servers[0] ? path : "content";
    EXPECT_EQ(reply.ok() ? reply->ToString() : reply.status().ToString(), expected);
  }
  done();
}

TEST(ThreadsExampleTest, Works) {
  const std::string path = absl::StrCat(std::getenv("TEST_TMPDIR"), "/file");
  std::ofstream(path) << "content";
  config::Config config;
  config.mutable_host()->set_workers(2);
  ThreadPool pool({.threads = 2});
  auto host = Host::Open(config);
  ASSERT_TRUE(host.ok()) << host.status();
  std::atomic<int> done{0};
  const absl::Status status =
      (*host)->Run([&](Worker& worker) -> absl::StatusOr<std::shared_ptr<void>> {
        std::shared_ptr<Application> application = Build(worker, pool);
        application->tasks.Spawn(Ask(*application, path, [&done, &worker] {
          if (++done == 2) worker.Stop();
        }));
        return application;
      });
  EXPECT_EQ(status, absl::OkStatus());
  EXPECT_EQ(pool.stats().run, 2u);
}

}  // namespace
}  // namespace weft
