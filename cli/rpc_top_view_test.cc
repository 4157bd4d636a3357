// SPDX-License-Identifier: Apache-2.0
#include "weft/cli/rpc_top_view.h"

#include <gtest/gtest.h>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "weft/cli/table.h"

namespace weft::cli {
namespace {

constexpr int64_t kSecondNs = 1'000'000'000;

constexpr char kHost[] =
    R"({"program": "store", "pid": 7, "uptime_ms": 61000, "transport": "shm", "workers": 2,
        "state": "running"})";

std::string MethodText(const std::string& name, int ok, int not_found, const std::string& buckets) {
  return absl::StrCat(R"({"method": ")", name, R"(", "side": "server", "calls": {"OK": )", ok,
                      R"(, "NOT_FOUND": )", not_found,
                      R"(}, "in_flight": 1, "latency": {"buckets": [)", buckets, "]}}");
}

// A worker with a server that has had so many requests and a table of methods.
std::string WorkerText(int worker, int requests, const std::string& methods) {
  return absl::StrCat(R"({"worker": )", worker,
                      R"(, "items": [{"kind": "server", "sessions_total": 1,
          "stats": {"requests": )",
                      requests, R"(, "refused": 0, "executing": 2},
          "sessions": [{"session": 4, "peer": "shm:a#1", "state": "open", "requests": )",
                      requests, R"(, "in_flight": 1, "age_ms": 5000, "credits": 32}]},
          {"kind": "methods", "methods": [)",
                      methods, "]}]}");
}

TopSample MustParse(const std::string& rpc, int64_t at_ns, const std::string& host = kHost) {
  auto sample = ParseTopSample(host, rpc, at_ns);
  EXPECT_TRUE(sample.ok()) << sample.status();
  return *std::move(sample);
}

std::string AllOf(const std::vector<std::string>& lines) { return absl::StrJoin(lines, "\n"); }

TEST(RpcTopViewTest, RatesAreOfAllWorkersBetweenTheLastTwoSamples) {
  TopView view;
  view.Add(MustParse(absl::StrCat("[", WorkerText(0, 100, MethodText("kv.Get", 90, 10, "")), ",",
                                  WorkerText(1, 0, MethodText("kv.Get", 0, 0, "")), "]"),
                     kSecondNs));
  view.Add(MustParse(
      absl::StrCat("[", WorkerText(0, 300, MethodText("kv.Get", 280, 20, "")), ",",
                   WorkerText(1, 3000, MethodText("kv.Get", 3000, 0, "[2000, 5000]")), "]"),
      3 * kSecondNs));
  EXPECT_EQ(view.Program(), "store: running for 1m1s, pid 7, shm, 2 workers");
  EXPECT_EQ(view.Totals(), "1.60k served/s, 0 called/s, 5 errors/s, 4 in flight, 2 sessions");
  EXPECT_EQ(AllOf(view.Methods(100)),
            "METHOD  SIDE    CALLS/S  ERRORS/S  IN FLIGHT     P50     P99  CALLS  ERRORS\n"
            "kv.Get  server    1.60k         5          2  2.00us  2.00us   3300      20");
  EXPECT_EQ(
      AllOf(view.Sessions(100)),
      "PEER     SIDE    STATE  WORKER  REQUESTS/S  IN FLIGHT  RTT  RESENT  CREDITS  WINDOW  AGE\n"
      "shm:a#1  server  open        1       1.50k          1    -       -       32       -   5s\n"
      "shm:a#1  server  open        0         100          1    -       -       32       -   5s");
}

TEST(RpcTopViewTest, LatenciesAreThoseOfTheLastTenSeconds) {
  TopView view;
  const auto add = [&view](int second, const std::string& buckets) {
    view.Add(MustParse(absl::StrCat("[", WorkerText(0, 0, MethodText("m", 0, 0, buckets)), "]"),
                       second * kSecondNs));
  };
  add(1, "[1000, 100]");
  EXPECT_TRUE(absl::StrContains(view.Methods(100)[1], "(1.00us)  (1.00us)"))
      << view.Methods(100)[1];
  add(2, "[1000, 100], [5000000, 10], [8000000, 1]");
  add(8, "[1000, 100], [5000000, 10], [8000000, 1]");
  EXPECT_TRUE(absl::StrContains(view.Methods(100)[1], " 5.00ms  8.00ms")) << view.Methods(100)[1];
  add(14, "[1000, 100], [5000000, 10], [8000000, 1]");
  EXPECT_TRUE(absl::StrContains(view.Methods(100)[1], "(1.00us)  (5.00ms)"))
      << view.Methods(100)[1];
}

TEST(RpcTopViewTest, SortsByWhatIsAskedFor) {
  TopView view;
  const auto methods = [](int busy, int failing) {
    return absl::StrCat("[",
                        WorkerText(0, 0,
                                   absl::StrCat(MethodText("b.Busy", busy, 0, "[10, 5]"), ",",
                                                MethodText("c.Failing", 0, failing, "[99, 5]"), ",",
                                                MethodText("a.Quiet", 0, 0, ""))),
                        "]");
  };
  view.Add(MustParse(methods(0, 0), 0));
  view.Add(MustParse(methods(50, 20), kSecondNs));
  const auto first = [&view](TopOrder order) {
    view.SetOrder(order);
    return view.Methods(100)[1].substr(0, 3);
  };
  EXPECT_EQ(first(TopOrder::kRate), "b.B");
  EXPECT_EQ(first(TopOrder::kErrors), "c.F");
  EXPECT_EQ(first(TopOrder::kLatency), "c.F");
  EXPECT_EQ(first(TopOrder::kName), "a.Q");
  TopOrder order = TopOrder::kRate;
  for (int i = 0; i < 5; ++i) order = NextOf(order);
  EXPECT_EQ(order, TopOrder::kRate);
}

TEST(RpcTopViewTest, ARestartedProgramBeginsAnew) {
  TopView view;
  view.Add(MustParse(absl::StrCat("[", WorkerText(0, 1000, ""), "]"), 0));
  view.Add(MustParse(absl::StrCat("[", WorkerText(0, 10, ""), "]"), kSecondNs,
                     R"({"program": "store", "pid": 8, "uptime_ms": 100})"));
  EXPECT_TRUE(absl::StartsWith(view.Totals(), "0 served/s, ")) << view.Totals();
  view.Add(MustParse(absl::StrCat("[", WorkerText(0, 30, ""), "]"), 2 * kSecondNs,
                     R"({"program": "store", "pid": 8, "uptime_ms": 1100})"));
  EXPECT_TRUE(absl::StartsWith(view.Totals(), "20 served/s, ")) << view.Totals();
}

TEST(RpcTopViewTest, NamesOfPeersCannotMoveTheCursor) {
  TopView view;
  view.Add(MustParse(
      absl::StrCat("[", WorkerText(0, 0, MethodText("\\u001b[2Jred\\u009b\\n", 0, 0, "")), "]"),
      0));
  EXPECT_EQ(view.Methods(100)[1].substr(0, 10), "?[2Jred???");
  EXPECT_EQ(Printable("caf\xc3\xa9\x7f"), "caf???");
}

TEST(RpcTopViewTest, LongNamesLeaveRoomForTheFigures) {
  TopView view;
  const std::string name(500, 'x');
  view.Add(MustParse(absl::StrCat("[", WorkerText(0, 0, MethodText(name, 0, 0, "")), "]"), 0));
  for (const size_t width : {200, 100, 80}) {
    const auto lines = view.Methods(width);
    EXPECT_LE(lines[1].size(), width);
    EXPECT_TRUE(absl::StrContains(lines[1], "x~")) << lines[1];
  }
  EXPECT_GT(view.Methods(10)[1].size(), 10u);  // there is a least
}

TEST(RpcTopViewTest, WorkersThatAreSilentAreNamed) {
  TopView view;
  EXPECT_EQ(view.Program(), "");
  EXPECT_TRUE(view.Methods(80).empty());
  view.Add(MustParse(R"([{"worker": 3, "error": "did not answer within 1000 ms"}])", 0));
  EXPECT_EQ(view.Trouble(), "worker 3 did not answer within 1000 ms");
  EXPECT_TRUE(view.Sessions(80).empty());
}

TEST(RpcTopViewTest, WhatIsNoJsonOrOfAnotherShapeIsNoCrash) {
  EXPECT_EQ(ParseTopSample("{", "[]", 0).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ParseTopSample("{}", "<html>", 0).status().code(), absl::StatusCode::kDataLoss);
  TopView view;
  view.Add(MustParse(R"([1, {"worker": "x", "items": [[], {"methods": [5, {"latency": {"buckets":
      [[1], 7, [1, 2, 3], ["a", "b"]]}}]}]}])",
                     0, "[]"));
  EXPECT_EQ(view.Methods(80).size(), 2u);
}

TEST(RpcTopViewTest, NumbersHaveThreeDigitsAndAUnit) {
  EXPECT_EQ(RateText(0), "0");
  EXPECT_EQ(RateText(7), "7");
  EXPECT_EQ(RateText(0.25), "0.25");
  EXPECT_EQ(RateText(12.34), "12.3");
  EXPECT_EQ(RateText(999.4), "999");
  EXPECT_EQ(RateText(999.7), "1.00k");
  EXPECT_EQ(RateText(45'600'000), "45.6M");
  EXPECT_EQ(TimeText(0), "-");
  EXPECT_EQ(TimeText(850), "850ns");
  EXPECT_EQ(TimeText(12'345), "12.3us");
  EXPECT_EQ(TimeText(4e12), "4000s");
}

}  // namespace
}  // namespace weft::cli
