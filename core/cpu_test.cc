// SPDX-License-Identifier: Apache-2.0

#include "weft/core/cpu.h"

#include <pthread.h>
#include <sched.h>

#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ParseCoreListTest, NumbersAndRangesInTheOrderWritten) {
  EXPECT_THAT(*ParseCoreList("5"), ElementsAre(5));
  EXPECT_THAT(*ParseCoreList("0-3,8"), ElementsAre(0, 1, 2, 3, 8));
  EXPECT_THAT(*ParseCoreList("8,0-1"), ElementsAre(8, 0, 1));
  EXPECT_THAT(*ParseCoreList(" 1 , 3-3 "), ElementsAre(1, 3));
  EXPECT_EQ(ParseCoreList("0-4095")->size(), 4096u);
}

struct BadList {
  std::string text;
  std::string problem;
};

class BadCoreListTest : public ::testing::TestWithParam<BadList> {};

TEST_P(BadCoreListTest, SaysWhatIsWrong) {
  const absl::Status status = ParseCoreList(GetParam().text).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(),
            absl::StrCat("core list \"", GetParam().text, "\": ", GetParam().problem,
                         "; write numbers and ranges, as in \"0-3,8\""));
}

INSTANTIATE_TEST_SUITE_P(
    Lists, BadCoreListTest,
    ::testing::Values(BadList{"", "no core is named"}, BadList{" ", "no core is named"},
                      BadList{"x", "\"x\" is not a core number from 0 to 4095"},
                      BadList{"1,", "\"\" is not a core number from 0 to 4095"},
                      BadList{"-1", "\"\" is not a core number from 0 to 4095"},
                      BadList{"1-", "\"\" is not a core number from 0 to 4095"},
                      BadList{"1-2-3", "\"2-3\" is not a core number from 0 to 4095"},
                      BadList{"+1", "\"+1\" is not a core number from 0 to 4095"},
                      BadList{"4096", "\"4096\" is not a core number from 0 to 4095"},
                      BadList{"0-99999999999",
                              "\"99999999999\" is not a core number from 0 to 4095"},
                      BadList{"3-1", "range \"3-1\" is descending"},
                      BadList{"0-2,1", "core 1 is named twice"}));

TEST(PinThisThreadTest, RunsOnTheCoreFromThenOn) {
  ASSERT_FALSE(AllowedCores().empty());
  for (const int core : AllowedCores()) {
    std::thread([core] {
      ASSERT_TRUE(PinThisThread(core).ok());
      EXPECT_EQ(sched_getcpu(), core);
    }).join();
  }
}

TEST(PinThisThreadTest, AllowedCoresAreThoseBeforePinning) {
  const std::vector<int> before = AllowedCores();
  std::thread([&before] {
    ASSERT_TRUE(PinThisThread(before.front()).ok());
    EXPECT_EQ(AllowedCores(), before);
  }).join();
}

TEST(PinThisThreadTest, NamesTheAllowedCores) {
  for (const int core : {-1, kMaxCores - 1, kMaxCores}) {
    const absl::Status status = PinThisThread(core);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(absl::StrCat("cannot pin a thread to core ", core,
                                       ": this process may use core")));
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat(AllowedCores().front())));
  }
}

TEST(NameThisThreadTest, KeepsWhatLinuxKeeps) {
  std::thread([] {
    char name[16];
    NameThisThread("worker 1");
    pthread_getname_np(pthread_self(), name, sizeof(name));
    EXPECT_STREQ(name, "worker 1");
    NameThisThread("a name of twenty bytes");
    pthread_getname_np(pthread_self(), name, sizeof(name));
    EXPECT_STREQ(name, "a name of twent");
  }).join();
}

}  // namespace
}  // namespace weft
