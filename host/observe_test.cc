// SPDX-License-Identifier: Apache-2.0
//
// What a host lets be seen: methods, traces, logs, and metrics that workers work out when asked.
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "weft/core/log.h"
#include "weft/host/host.h"
#include "weft/host/host_test_util.h"
#include "weft/host/http_test_client.h"

namespace weft {
namespace {

std::string FileAt(const std::string& name) {
  const std::string path = absl::StrCat(testing::TempDir(), "/", name);
  std::remove(path.c_str());
  return path;
}

std::string ContentOf(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Runs a host with that configuration, and `look` beside it once all its workers are up.
void RunWith(const std::string& text, const std::function<void(Worker&)>& set_up,
             const std::function<void(Host&)>& look) {
  auto host = Host::Open(FromText(text));
  ASSERT_TRUE(host.ok()) << host.status();
  std::thread looker;
  const absl::Status status = (*host)->Run([&](Worker& worker) -> Application {
    set_up(worker);
    if (worker.index() + 1 == worker.count()) {
      looker = std::thread([&] {
        const std::string address = (*host)->http_address();
        while (!address.empty() &&
               !absl::StrContains(AskHttp(address, "GET /healthz HTTP/1.0\r\n\r\n"), "ok\n")) {
        }
        look(**host);
        (*host)->Stop();
      });
    }
    return std::make_shared<int>(0);
  });
  looker.join();
  EXPECT_TRUE(status.ok()) << status;
}

std::string Ask(Host& host, const std::string& page) {
  return AskHttp(host.http_address(), absl::StrCat("GET ", page, " HTTP/1.0\r\n\r\n"));
}

TEST(ObserveTest, MetricsThatWorkersWorkOutWhenAsked) {
  RunWith(
      "host { workers: 2 } metrics { listen: '0' peers_max: 3 }",
      [](Worker& worker) {
        worker.Sample([&worker](size_t limit, std::vector<MetricSample>* samples) {
          samples->push_back({{"test_peer_limit", "Help.", worker.labels()},
                              MetricType::kGauge,
                              static_cast<double>(limit)});
        });
      },
      [](Host& host) {
        for (int i = 0; i < 3; ++i) {
          const std::string text = Ask(host, "/metrics");
          EXPECT_TRUE(absl::StrContains(text,
                                        "\ntest_peer_limit{worker=\"0\"} 3\n"
                                        "test_peer_limit{worker=\"1\"} 3\n"))
              << text;
          EXPECT_TRUE(absl::StrContains(text, "\nweft_loop_iterations_total{worker=\"1\"} "));
        }
      });
}

TEST(ObserveTest, PeersMaxOfZeroAsksNobody) {
  RunWith(
      "metrics { listen: '0' peers_max: 0 }",
      [](Worker& worker) {
        worker.Sample([](size_t, std::vector<MetricSample>*) { ADD_FAILURE() << "asked"; });
      },
      [](Host& host) {
        EXPECT_TRUE(absl::StrContains(Ask(host, "/metrics"), "weft_loop_iterations_total"));
      });
}

TEST(ObserveTest, MethodsAreOnBothPages) {
  RunWith(
      "metrics { listen: '0' }",
      [](Worker& worker) {
        EXPECT_EQ(worker.observers().tracer, nullptr) << "no section `tracing`";
        EXPECT_EQ(worker.observers().methods, worker.observers().methods);
        worker.observers().methods->Of(rpc::Side::kServer, "kv.KeyValue/Get").OnBegin(1);
      },
      [](Host& host) {
        EXPECT_TRUE(absl::StrContains(Ask(host, "/metrics"),
                                      "weft_rpc_method_in_flight{method=\"kv.KeyValue/Get\","
                                      "side=\"server\",worker=\"0\"} 1\n"));
        const std::string page = Ask(host, "/rpc");
        EXPECT_TRUE(absl::StrContains(page, "\"kind\": \"methods\"")) << page;
        EXPECT_TRUE(absl::StrContains(page, "\"method\": \"kv.KeyValue/Get\"")) << page;
      });
}

TEST(ObserveTest, TracesGoToTheFileAndAreThereAtTheEnd) {
  const std::string path = FileAt("spans.jsonl");
  RunWith(
      absl::StrCat("host { workers: 2 } tracing { file: '", path,
                   "' service_name: 'kv' sample_ratio: 1 }"),
      [](Worker& worker) {
        rpc::Tracer* const tracer = worker.observers().tracer;
        ASSERT_NE(tracer, nullptr);
        tracer->End(tracer->Begin(rpc::Span::Kind::kServer, nullptr, "kv.KeyValue/Get"),
                    absl::OkStatus());
      },
      [](Host&) {});
  const std::string text = ContentOf(path);
  EXPECT_TRUE(absl::StrContains(text, R"({"key":"service.name","value":{"stringValue":"kv"}})"));
  size_t spans = 0;
  for (size_t at = 0; (at = text.find("\"spanId\"", at)) != std::string::npos; ++at) ++spans;
  EXPECT_EQ(spans, 2u) << "one of each worker";
}

TEST(ObserveTest, TheLogIsAsTheConfigurationSays) {
  const std::string path = FileAt("host.log");
  RunWith(
      absl::StrCat("log { level: DEBUG format: JSON file: '", path, "' }"), [](Worker&) {},
      [](Host&) {});
  // The thread that writes may wait for a processor.
  FlushLog(absl::Seconds(30));
  const std::string text = ContentOf(path);
  EXPECT_TRUE(absl::StrContains(text, R"("level":"debug","message":"a worker is up","worker":0)"))
      << text;
  ASSERT_TRUE(ConfigureLog({}).ok());
}

TEST(ObserveTest, FilesThatCannotBeWrittenAreErrorsThatNameTheField) {
  for (const char* section : {"log", "tracing"}) {
    const auto host = Host::Open(FromText(absl::StrCat(section, " { file: '/nowhere/at/all' }")));
    EXPECT_EQ(host.status().code(), absl::StatusCode::kNotFound);
    EXPECT_TRUE(absl::StartsWith(host.status().message(), absl::StrCat(section, ".file: ")))
        << host.status();
  }
}

}  // namespace
}  // namespace weft
