// SPDX-License-Identifier: Apache-2.0
//
// What changes a host while it runs: commands, and a configuration that is read again.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "weft/host/host.h"
#include "weft/host/host_test_util.h"
#include "weft/host/http_client.h"

namespace weft {
namespace {

std::string ControlOf(const std::string& http_address) {
  const auto reply = HttpGet(http_address, "/host");
  if (!reply.ok()) return std::string(reply.status().message());
  const std::string key = "\"control\": \"";
  const size_t begin = reply->body.find(key);
  if (begin == std::string::npos) return "";
  const size_t end = reply->body.find('"', begin + key.size());
  return reply->body.substr(begin + key.size(), end - begin - key.size());
}

// Runs `ask` beside a host of two workers that accept "test/do", and stops it.
void Beside(const Worker::Execute& execute, const std::function<void(const Host&)>& ask) {
  const auto host = MustOpen("host { workers: 2 } metrics { listen: '0' }");
  std::thread asker;
  const absl::Status status = host->Run([&](Worker& worker) -> Application {
    worker.Accept("test/do",
                  [&worker, execute](const HttpRequest& request) -> absl::StatusOr<std::string> {
                    if (worker.index() == 0) return "done";
                    return execute(request);
                  });
    if (worker.index() == 1) {
      asker = std::thread([&] {
        ask(*host);
        host->Stop();
      });
    }
    return nullptr;
  });
  asker.join();
  EXPECT_TRUE(status.ok()) << status;
}

TEST(ControlTest, ACommandGoesToAllWorkers) {
  Beside([](const HttpRequest& request) { return absl::StrCat("did ", request.query.at("x")); },
         [](const Host& host) {
           const auto reply = HttpPost(ControlOf(host.http_address()), "/test/do?x=3");
           ASSERT_TRUE(reply.ok()) << reply.status();
           EXPECT_EQ(reply->status, 200);
           EXPECT_EQ(reply->body, "worker 0: done\nworker 1: did 3\n");
           EXPECT_EQ(HttpPost(ControlOf(host.http_address()), "/test/other")->status, 404);
         });
}

TEST(ControlTest, AWorkerThatRefusesIsHeard) {
  Beside([](const HttpRequest&) { return absl::NotFoundError("there is none"); },
         [](const Host& host) {
           const auto reply = HttpPost(ControlOf(host.http_address()), "/test/do");
           ASSERT_TRUE(reply.ok()) << reply.status();
           EXPECT_EQ(reply->status, 400);
           EXPECT_EQ(reply->body, "worker 1: there is none\n");
         });
}

TEST(ControlTest, OnlyWorkersThatAcceptACommandAreAsked) {
  const auto host = MustOpen("host { workers: 2 } metrics { listen: '0' }");
  std::thread asker;
  const absl::Status status = host->Run([&](Worker& worker) -> Application {
    if (worker.index() == 0) {
      worker.Accept("test/do", [](const HttpRequest&) { return "done"; });
    } else {
      asker = std::thread([&] {
        EXPECT_EQ(HttpPost(ControlOf(host->http_address()), "/test/do")->body, "done\n");
        host->Stop();
      });
    }
    return nullptr;
  });
  asker.join();
  EXPECT_TRUE(status.ok()) << status;
}

TEST(ControlTest, AHostWithoutCommandsTakesNone) {
  const auto host = MustOpen("metrics { listen: '0' }");
  EXPECT_EQ(ControlOf(host->http_address()), "");
}

TEST(ControlTest, ASignalReadsTheConfigurationAgain) {
  int times = 0;
  HostOptions options;
  options.reload = [&times]() -> absl::StatusOr<config::Config> {
    if (++times == 1) {
      raise(SIGHUP);  // again, while this one is at work
      return absl::InvalidArgumentError("x.cfg:1:1: host: is wrong");
    }
    return FromText("host { workers: 7 }");
  };
  auto host = Host::Open(FromText("host { workers: 2 }"), options);
  ASSERT_TRUE(host.ok()) << host.status();
  std::atomic<int> applied{0};
  const absl::Status status = (*host)->Run([&](Worker& worker) -> Application {
    worker.OnReload([&](const config::Config& config) {
      EXPECT_EQ(config.host().workers(), 7u);
      EXPECT_EQ(worker.config().host().workers(), 2u);
      if (++applied == 2) worker.Stop();
      return worker.index() == 0 ? absl::OkStatus() : absl::NotFoundError("is in the log");
    });
    if (worker.index() == 1) worker.loop().Post([] { kill(getpid(), SIGHUP); });
    return nullptr;
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(times, 2);
  struct sigaction action;
  sigaction(SIGHUP, nullptr, &action);
  EXPECT_EQ(action.sa_handler, SIG_DFL);
}

}  // namespace
}  // namespace weft
