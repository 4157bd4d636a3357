// SPDX-License-Identifier: Apache-2.0
#include "weft/core/log.h"

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "weft/core/allocation_counter.h"

namespace weft {
namespace {

class LogTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = absl::StrCat(testing::TempDir(), "/log");
    std::remove(path_.c_str());
  }
  void TearDown() override { ASSERT_TRUE(ConfigureLog({}).ok()); }

  void Configure(LogFormat format, LogLevel level = LogLevel::kInfo) {
    ASSERT_TRUE(ConfigureLog({.level = level, .format = format, .file = path_}).ok());
  }

  // The thread that writes may wait for a processor.
  static void Flush() { FlushLog(absl::Seconds(30)); }
  std::vector<std::string> Lines() const {
    Flush();
    std::ifstream in(path_);
    const std::string content(std::istreambuf_iterator<char>(in), {});
    return absl::StrSplit(content, '\n', absl::SkipEmpty());
  }
  // The only line, without the time and the thread.
  std::string Line() const {
    const std::vector<std::string> lines = Lines();
    if (lines.size() != 1) return absl::StrCat(lines.size(), " lines");
    const size_t begin = lines[0].find(' ');
    const size_t end = lines[0].rfind(" thread=");
    return lines[0].substr(begin + 1, end - begin - 1);
  }
  // The only line, which is JSON, from the level on and without the thread.
  std::string JsonLine() const {
    const std::vector<std::string> lines = Lines();
    if (lines.size() != 1) return absl::StrCat(lines.size(), " lines");
    google::protobuf::Struct json;
    EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(lines[0], &json).ok()) << lines[0];
    const size_t begin = lines[0].find("\"level\"");
    const size_t end = lines[0].rfind(",\"thread\":");
    return lines[0].substr(begin, end - begin);
  }

  std::string path_;
};

TEST_F(LogTest, TextForPeople) {
  Configure(LogFormat::kText);
  WEFT_LOG(kWarning, "session lost", {"peer", "10.0.0.2:7000"}, {"age_ms", 5012},
           {"limit", size_t{7}}, {"share", 0.5}, {"open", false}, {"below", -3});
  EXPECT_EQ(Line(),
            "WARNING session lost peer=10.0.0.2:7000 age_ms=5012 limit=7 share=0.5 open=false "
            "below=-3");
  const std::string line = Lines()[0];
  EXPECT_EQ(line[10], 'T');
  EXPECT_EQ(line.substr(26, 2), "Z ") << "microseconds, UTC";
}

TEST_F(LogTest, ALineWithoutFields) {
  Configure(LogFormat::kText);
  WEFT_LOG(kInfo, "ready");
  EXPECT_EQ(Line(), "INFO ready");
}

TEST_F(LogTest, JsonForPrograms) {
  Configure(LogFormat::kJson);
  WEFT_LOG(kError, "cannot serve", {"peer", "shm:a \"b\""}, {"count", 3}, {"ratio", NAN},
           {"open", true}, {"greatest", std::numeric_limits<uint64_t>::max()});
  EXPECT_EQ(JsonLine(),
            R"("level":"error","message":"cannot serve","peer":"shm:a \"b\"","count":3,)"
            R"("ratio":null,"open":true,"greatest":18446744073709551615)");
  EXPECT_TRUE(absl::StartsWith(Lines()[0], R"({"time":"2)"));
}

TEST_F(LogTest, WhatAPeerSaysCannotForgeALine) {
  const std::string evil = "a\n2026-01-01T00:00:00.000000Z ERROR forged \x1b[31m\x7f\xff\xc3\xa9";
  Configure(LogFormat::kText);
  WEFT_LOG(kInfo, "refused", {"peer", evil});
  EXPECT_EQ(Line(),
            "INFO refused peer=\"a\\u000a2026-01-01T00:00:00.000000Z ERROR forged "
            "\\u001b[31m\\u007f\\u00ff\xc3\xa9\"");
  std::remove(path_.c_str());
  Configure(LogFormat::kJson);
  WEFT_LOG(kInfo, "refused", {"peer", evil});
  EXPECT_TRUE(absl::StrContains(JsonLine(), R"("peer":"a\u000a2026)"));
}

TEST_F(LogTest, LongTextsAreCutAndFieldsThatDoNotFitLeftOut) {
  const std::string text(100'000, 'x');
  const std::string codes(100'000, '\x01');
  for (const LogFormat format : {LogFormat::kText, LogFormat::kJson}) {
    std::remove(path_.c_str());
    Configure(format);
    WEFT_LOG(kInfo, "long", {"a", text}, {"b", codes}, {"c", text}, {"d", text}, {"e", 1});
    const std::vector<std::string> lines = Lines();
    ASSERT_EQ(lines.size(), 1u);
    EXPECT_LE(lines[0].size(), kLogLineBytes + 64);
    EXPECT_TRUE(absl::StrContains(lines[0], "xxx...")) << lines[0];
    EXPECT_FALSE(absl::StrContains(lines[0], "d\":\"x")) << lines[0];
    EXPECT_FALSE(absl::StrContains(lines[0], " d=x")) << lines[0];
  }
  EXPECT_TRUE(absl::EndsWith(JsonLine(), R"(...","e":1,"truncated":true)")) << "what fits is there";
  std::remove(path_.c_str());
  Configure(LogFormat::kJson);
  Log(LogLevel::kInfo, text, {});
  EXPECT_TRUE(absl::EndsWith(JsonLine(), "x...\""));
}

TEST_F(LogTest, ALevelThatIsOffComputesNothing) {
  Configure(LogFormat::kText, LogLevel::kWarning);
  int computed = 0;
  WEFT_LOG(kDebug, "no", {"n", ++computed});
  WEFT_LOG(kInfo, "no", {"n", ++computed});
  WEFT_LOG(kWarning, "yes", {"n", ++computed});
  EXPECT_EQ(Line(), "WARNING yes n=1");
  Configure(LogFormat::kText, LogLevel::kOff);
  WEFT_LOG(kError, "no");
  EXPECT_EQ(Lines().size(), 1u);
  Configure(LogFormat::kText, LogLevel::kDebug);
  WEFT_LOG(kDebug, "yes");
  EXPECT_EQ(Lines().size(), 2u);
}

TEST_F(LogTest, LinesOfAThreadAreInOrderAndNoneIsBroken) {
  constexpr int kThreads = 4;
  constexpr int kLines = 200;  // all together fit into the queue
  Configure(LogFormat::kText);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < kLines; ++i) WEFT_LOG(kInfo, "line", {"t", t}, {"i", i});
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::vector<std::string> lines = Lines();
  ASSERT_EQ(lines.size(), size_t{kThreads} * kLines);
  int next[kThreads] = {};
  for (const std::string& line : lines) {
    int t = -1, i = -1;
    ASSERT_EQ(std::sscanf(line.c_str() + 28, "INFO line t=%d i=%d", &t, &i), 2) << line;
    EXPECT_EQ(i, next[t]++);
  }
}

TEST_F(LogTest, WhatComesTooFastIsDroppedCountedAndSaid) {
  Configure(LogFormat::kText);
  const uint64_t dropped_before = LogLinesDropped();
  constexpr uint64_t kLines = 50 * kLogQueueLines;
  for (uint64_t i = 0; i < kLines; ++i) WEFT_LOG(kInfo, "flood", {"i", i});
  const uint64_t dropped = LogLinesDropped() - dropped_before;
  EXPECT_GT(dropped, 0u);
  WEFT_LOG(kInfo, "after");  // may be dropped too
  uint64_t written = 0, said = 0;
  // Those that were dropped may be told of a moment after the last line is written.
  for (int tries = 0; tries < 1000 && (tries == 0 || said < dropped); ++tries) {
    written = said = 0;
    for (const std::string& line : Lines()) {
      unsigned long long n = 0;
      if (absl::StrContains(line, " flood ")) ++written;
      const size_t at = line.find("lines of the log were dropped lines=");
      if (at != std::string::npos && std::sscanf(line.c_str() + at + 36, "%llu", &n) == 1) {
        said += n;
      }
    }
  }
  EXPECT_EQ(written + dropped, kLines);
  EXPECT_GE(said, dropped);
}

TEST_F(LogTest, WhatCouldNotBeWrittenIsSaidOnceSomethingCan) {
  WEFT_LOG(kInfo, "first");
  ASSERT_TRUE(ConfigureLog({.file = "/dev/full"}).ok());
  for (int i = 0; i < 3; ++i) {
    WEFT_LOG(kInfo, "lost");
    Flush();
    // Long enough for the thread to try, in vain, to say so there.
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  Configure(LogFormat::kText);
  WEFT_LOG(kInfo, "back");
  const std::vector<std::string> lines = Lines();
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_TRUE(absl::StrContains(lines[0], " INFO back ")) << lines[0];
  EXPECT_TRUE(absl::StrContains(lines[1], "lines of the log were dropped lines=3 ")) << lines[1];
}

TEST_F(LogTest, AThreadThatLogsDoesNotAllocate) {
  Configure(LogFormat::kJson);
  const std::string peer = "10.0.0.2:7000";
  WEFT_LOG(kInfo, "first");  // starts the thread
  const int64_t before = AllocationsOfThisThread();
  WEFT_LOG(kInfo, "session lost", {"peer", peer}, {"age_ms", 5012}, {"share", 0.1});
  EXPECT_EQ(AllocationsOfThisThread() - before, 0);
}

TEST_F(LogTest, AFileThatCannotBeWrittenChangesNothing) {
  Configure(LogFormat::kText);
  const absl::Status status = ConfigureLog({.level = LogLevel::kOff, .file = "/nowhere/at/all"});
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  WEFT_LOG(kInfo, "still here");
  EXPECT_EQ(Line(), "INFO still here");
}

}  // namespace
}  // namespace weft
