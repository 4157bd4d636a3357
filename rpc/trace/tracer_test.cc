// SPDX-License-Identifier: Apache-2.0
//
// From a decision to a line of the file, which must be as OTLP wants it.
#include "weft/rpc/trace/tracer.h"

#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "weft/core/allocation_counter.h"
#include "weft/core/temp_directory.h"
#include "weft/rpc/trace/testdata/otlp.pb.h"

namespace weft::rpc {
namespace {

constexpr char kGet[] = "kv.KeyValue/Get";

class TracerTest : public testing::Test {
 protected:
  void Start(SpanWriter::Options options = {}, double ratio = 1) {
    options.file = path_;
    options.virtual_time = true;
    auto writer = SpanWriter::Start(options);
    ASSERT_TRUE(writer.ok()) << writer.status();
    writer_ = *writer;
    tracer_ = std::make_unique<Tracer>(writer_, clock_, TracerOptions{ratio, /*seed=*/1});
  }

  // All spans that have been written. A field that OTLP does not have is a failure.
  std::vector<otlp::Span> Spans() {
    writer_->Flush();
    std::ifstream in(path_);
    const std::string content(std::istreambuf_iterator<char>(in), {});
    std::vector<otlp::Span> spans;
    for (const absl::string_view line : absl::StrSplit(content, '\n', absl::SkipEmpty())) {
      const auto status = google::protobuf::util::JsonStringToMessage(std::string(line), &data_);
      EXPECT_TRUE(status.ok()) << status.ToString() << "\n" << line;
      EXPECT_TRUE(absl::StartsWith(line, R"({"resourceSpans":[{"resource":)")) << line;
      for (const auto& resource : data_.resource_spans()) {
        for (const auto& scope : resource.scope_spans()) {
          spans.insert(spans.end(), scope.spans().begin(), scope.spans().end());
        }
      }
    }
    return spans;
  }

  template <typename T>
  static std::map<std::string, std::string> AttributesOf(const T& owner) {
    std::map<std::string, std::string> attributes;
    for (const otlp::KeyValue& attribute : owner.attributes()) {
      const bool is_text = attribute.value().has_string_value();
      attributes[attribute.key()] =
          is_text ? attribute.value().string_value() : absl::StrCat(attribute.value().int_value());
    }
    return attributes;
  }

  const TempDirectory directory_;
  const std::string path_ = absl::StrCat(directory_.path(), "/spans.jsonl");
  ManualClock clock_;
  std::shared_ptr<SpanWriter> writer_;
  std::unique_ptr<Tracer> tracer_;
  otlp::TracesData data_;  // the last line
};

TEST_F(TracerTest, ASpanIsWrittenAsOtlp) {
  Start({.service_name = "store"});
  clock_.Advance(1'000);
  Span* span = tracer_->Begin(Span::Kind::kClient, nullptr, kGet);
  ASSERT_NE(span, nullptr);
  span->peer.Set("10.0.0.2:7000");
  span->request_bytes = 64;
  span->response_bytes = 128;
  span->retransmissions = 2;
  span->state.Set("vendor=a");
  const std::string context = FormatTraceParent(span->context);
  clock_.Advance(2'500);
  tracer_->End(span, absl::NotFoundError("no such key"));

  const std::vector<otlp::Span> spans = Spans();
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_EQ(spans[0].trace_id(), context.substr(3, 32));
  EXPECT_EQ(spans[0].span_id(), context.substr(36, 16));
  EXPECT_EQ(spans[0].parent_span_id(), "");
  EXPECT_EQ(spans[0].trace_state(), "vendor=a");
  EXPECT_EQ(spans[0].flags(), 1u);
  EXPECT_EQ(spans[0].name(), kGet);
  EXPECT_EQ(spans[0].kind(), otlp::Span::SPAN_KIND_CLIENT);
  EXPECT_EQ(spans[0].end_time_unix_nano() - spans[0].start_time_unix_nano(), 2'500u);
  EXPECT_EQ(spans[0].status().code(), otlp::Status::STATUS_CODE_ERROR);
  EXPECT_EQ(spans[0].status().message(), "no such key");
  EXPECT_EQ(AttributesOf(spans[0]), (std::map<std::string, std::string>{
                                        {"rpc.system", "weft"},
                                        {"rpc.service", "kv.KeyValue"},
                                        {"rpc.method", "Get"},
                                        {"network.peer.address", "10.0.0.2"},
                                        {"network.peer.port", "7000"},
                                        {"rpc.response.status_code", "NOT_FOUND"},
                                        {"rpc.request.size", "64"},
                                        {"rpc.response.size", "128"},
                                        {"rpc.weft.retransmissions", "2"},
                                    }));
  const auto resource = AttributesOf(data_.resource_spans(0).resource());
  EXPECT_EQ(resource.at("service.name"), "store");
  EXPECT_TRUE(resource.contains("process.pid"));
  EXPECT_EQ(data_.resource_spans(0).scope_spans(0).scope().name(), "weft.rpc");
}

TEST_F(TracerTest, IntegersOf64BitsAreTextsAndEnumeratorsNumbers) {
  Start();
  tracer_->End(tracer_->Begin(Span::Kind::kServer, nullptr, kGet), absl::AbortedError(""));
  Spans();
  std::ifstream in(path_);
  const std::string line(std::istreambuf_iterator<char>(in), {});
  EXPECT_TRUE(absl::StrContains(line, R"("kind":2,"startTimeUnixNano":")")) << line;
  EXPECT_TRUE(absl::StrContains(line, R"("status":{"code":2})")) << line;
  EXPECT_TRUE(absl::StrContains(line, R"({"key":"rpc.request.size","value":{"intValue":"0"}})"));
}

TEST_F(TracerTest, PeersOfAllKinds) {
  Start();
  for (const char* peer : {"[fd00::2]:7000", "shm:echo", "sim:a:b", ""}) {
    Span* span = tracer_->Begin(Span::Kind::kServer, nullptr, kGet);
    span->peer.Set(peer);
    tracer_->End(span, absl::OkStatus());
  }
  const std::vector<otlp::Span> spans = Spans();
  ASSERT_EQ(spans.size(), 4u);
  EXPECT_EQ(AttributesOf(spans[0]).at("network.peer.address"), "fd00::2");
  EXPECT_EQ(AttributesOf(spans[0]).at("network.peer.port"), "7000");
  EXPECT_EQ(AttributesOf(spans[1]).at("network.peer.address"), "shm:echo");
  EXPECT_FALSE(AttributesOf(spans[1]).contains("network.peer.port"));
  EXPECT_EQ(AttributesOf(spans[2]).at("network.peer.address"), "sim:a:b");
  EXPECT_FALSE(AttributesOf(spans[3]).contains("network.peer.address"));
}

TEST_F(TracerTest, TextsOfPeersDoNotBreakTheLine) {
  Start();
  Span* span = tracer_->Begin(Span::Kind::kServer, nullptr, kGet);
  span->peer.Set("shm:\"\n\\");
  tracer_->End(span, absl::InternalError(absl::StrCat("\xff\n", std::string(1000, 'x'))));
  const std::vector<otlp::Span> spans = Spans();
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_EQ(AttributesOf(spans[0]).at("network.peer.address"), "shm:\"\n\\");
  EXPECT_TRUE(absl::StartsWith(spans[0].status().message(), "\xef\xbf\xbd\nxxx"));
  EXPECT_LT(spans[0].status().message().size(), 100u) << "cut";
}

TEST_F(TracerTest, AChildFollowsItsParent) {
  Start({}, /*ratio=*/0);
  TraceParent parent =
      ParseTraceParent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03").value();
  Span* span = tracer_->Begin(Span::Kind::kServer, &parent, kGet);
  ASSERT_NE(span, nullptr);
  EXPECT_EQ(span->context.trace_id, parent.trace_id);
  EXPECT_NE(span->context.span_id, parent.span_id);
  EXPECT_EQ(span->context.flags, parent.flags);
  tracer_->End(span, absl::OkStatus());
  const std::vector<otlp::Span> spans = Spans();
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_EQ(spans[0].parent_span_id(), "00f067aa0ba902b7");
  EXPECT_EQ(spans[0].status().code(), otlp::Status::STATUS_CODE_UNSET);
}

TEST_F(TracerTest, AParentThatIsNotSampledIsFollowedToo) {
  Start({}, /*ratio=*/1);
  TraceParent parent =
      ParseTraceParent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00").value();
  EXPECT_EQ(tracer_->Begin(Span::Kind::kServer, &parent, kGet), nullptr);
}

TEST_F(TracerTest, RootsAreSampledWithTheRatio) {
  Start({}, /*ratio=*/0);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(tracer_->Begin(Span::Kind::kClient, nullptr, kGet), nullptr);
  }
  Tracer some(writer_, clock_, {.sample_ratio = 0.1, .seed = 7});
  std::set<std::array<uint8_t, 16>> traces;
  for (int i = 0; i < 10'000; ++i) {
    Span* span = some.Begin(Span::Kind::kClient, nullptr, kGet);
    if (span == nullptr) continue;
    traces.insert(span->context.trace_id);
    some.End(span, absl::OkStatus());
  }
  EXPECT_GT(traces.size(), 900u);
  EXPECT_LT(traces.size(), 1100u);
  EXPECT_EQ(some.spans(), traces.size()) << "each root is a trace of its own";
}

TEST_F(TracerTest, WhatTheQueueDoesNotHoldIsDroppedAndCounted) {
  Start({.queue_spans = 64});
  constexpr uint64_t kSpans = 100'000;
  for (uint64_t i = 0; i < kSpans; ++i) {
    tracer_->End(tracer_->Begin(Span::Kind::kClient, nullptr, kGet), absl::OkStatus());
  }
  EXPECT_GT(tracer_->dropped(), 0u);
  EXPECT_EQ(tracer_->spans() + tracer_->dropped(), kSpans);
  EXPECT_EQ(Spans().size(), tracer_->spans());
}

TEST_F(TracerTest, NothingIsLostAtTheEnd) {
  Start();
  for (int i = 0; i < 1000; ++i) {
    tracer_->End(tracer_->Begin(Span::Kind::kClient, nullptr, kGet), absl::OkStatus());
  }
  tracer_.reset();
  writer_.reset();
  std::ifstream in(path_);
  const std::string content(std::istreambuf_iterator<char>(in), {});
  size_t spans = 0;
  for (size_t at = 0; (at = content.find("\"spanId\"", at)) != std::string::npos; ++at) ++spans;
  EXPECT_EQ(spans, 1000u);
}

TEST_F(TracerTest, CallsThatOverlapHaveSpansOfTheirOwnAndAllocateNothingInSteadyState) {
  Start();
  const auto round = [this] {
    Span* spans[8];
    for (Span*& span : spans) span = tracer_->Begin(Span::Kind::kClient, nullptr, kGet);
    std::set<Span*> distinct(std::begin(spans), std::end(spans));
    EXPECT_EQ(distinct.size(), 8u);
    distinct.clear();
    for (Span* span : spans) tracer_->End(span, absl::OkStatus());
  };
  round();
  Span* spans[8];
  const int64_t before = AllocationsOfThisThread();
  for (Span*& span : spans) span = tracer_->Begin(Span::Kind::kClient, nullptr, kGet);
  for (Span* span : spans) tracer_->End(span, absl::OkStatus());
  EXPECT_EQ(AllocationsOfThisThread() - before, 0);
}

TEST_F(TracerTest, AFileThatCannotBeOpenedIsAnError) {
  EXPECT_EQ(SpanWriter::Start({.file = "/nowhere/at/all"}).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(TracerTest, SpansThatCannotBeWrittenAreCounted) {
  auto writer = SpanWriter::Start({.file = "/dev/full"});
  ASSERT_TRUE(writer.ok());
  Tracer tracer(*writer, clock_, {.sample_ratio = 1});
  tracer.End(tracer.Begin(Span::Kind::kClient, nullptr, kGet), absl::OkStatus());
  (*writer)->Flush();
  EXPECT_EQ((*writer)->lost(), 1u);
}

TEST_F(TracerTest, RealTimesCountFrom1970) {
  auto writer = SpanWriter::Start({.file = path_});
  ASSERT_TRUE(writer.ok());
  writer_ = *writer;
  Tracer tracer(writer_, RealClock(), {.sample_ratio = 1});
  const auto before = static_cast<uint64_t>(time(nullptr)) * 1'000'000'000;
  tracer.End(tracer.Begin(Span::Kind::kClient, nullptr, kGet), absl::OkStatus());
  const std::vector<otlp::Span> spans = Spans();
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_GE(spans[0].start_time_unix_nano(), before - 1'000'000'000);
  EXPECT_LT(spans[0].start_time_unix_nano(), before + 60'000'000'000);
}

TEST_F(TracerTest, Metrics) {
  Start();
  MetricRegistry registry;
  const MetricGroup group = RegisterMetrics(registry, *tracer_, {{"worker", "0"}});
  ASSERT_TRUE(group.status().ok());
  tracer_->End(tracer_->Begin(Span::Kind::kClient, nullptr, kGet), absl::OkStatus());
  EXPECT_TRUE(absl::StrContains(registry.RenderPrometheus(),
                                "weft_rpc_trace_spans_total{worker=\"0\"} 1\n"));
}

}  // namespace
}  // namespace weft::rpc
