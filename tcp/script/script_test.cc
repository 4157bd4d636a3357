// SPDX-License-Identifier: Apache-2.0
//
// The language: what is wrong with a script, and where; what is said when one does not hold.
#include "weft/tcp/script/script.h"

#include <string>

#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace weft::tcp::script {
namespace {

std::string ErrorOf(absl::string_view text) {
  const auto script = Parse("x.tcp", text);
  return script.ok() ? "" : std::string(script.status().message());
}

std::string Failure(absl::string_view text) {
  const auto script = Parse("x.tcp", text);
  if (!script.ok()) return std::string(script.status().message());
  return std::string(Run(*script).message());
}

struct Bad {
  absl::string_view text;
  absl::string_view place;
  absl::string_view what;
};

TEST(ScriptParserTest, BadScripts) {
  const Bad kBad[] = {
      {"liste 80", "x.tcp:1:1:", "what is 'liste'?"},
      {"\n\nlisten 80 3 4", "x.tcp:3:13:", "too much"},
      {"listen x", "x.tcp:1:8:", "give a number"},
      {"+1.x < S 0", "x.tcp:1:1:", "a time is"},
      {"+2~1 > S 0", "x.tcp:1:1:", "a time is"},
      {"+-1 > S 0", "x.tcp:1:1:", "a time is"},
      {"+1", "x.tcp:1:3:", "what is ''?"},
      {"< X 0", "x.tcp:1:3:", "flags are of"},
      {"<", "x.tcp:1:2:", "flags are of"},
      {"< * 0", "x.tcp:1:3:", "flags are of"},
      {"< S", "x.tcp:1:4:", "where does it begin?"},
      {"< S *", "x.tcp:1:5:", "where does it begin?"},
      {"< S 0:", "x.tcp:1:7:", "where does it end?"},
      {"< S 0:10", "x.tcp:1:9:", "how long is it?"},
      {"< P. 1:11(9) ack 1", "x.tcp:1:11:", "1:11 are 10 bytes, not 9"},
      {"< P. 1(70000) ack 1", "x.tcp:1:8:", "0 to 65535"},
      {"< P. 1(10 ack 1", "x.tcp:1:11:", "')' is missing"},
      {"< . 1", "x.tcp:1:6:", "what does it acknowledge?"},
      {"< . 1 ack", "x.tcp:1:10:", "give the number"},
      {"< . 1 ack 1 win 65536", "x.tcp:1:17:", "0 to 65535"},
      {"< S 0 mss 3", "x.tcp:1:7:", "it has ack, win"},
      {"< S 0 <mss>", "x.tcp:1:11:", "give a number"},
      {"< S 0 <mss 1460", "x.tcp:1:16:", "'>' or ',' is missing"},
      {"< S 0 <msss 1460>", "x.tcp:1:8:", "options are"},
      {"< S 0 <raw 123>", "x.tcp:1:12:", "two digits each"},
      {"< S 0 <sack 1>", "x.tcp:1:14:", "BEGIN:END"},
      {"< S 0 <sack 1:2 2:3 3:4 4:5,ts 1>", "x.tcp:1:34:", "more than 40 bytes"},
      {"> S 0 <nop>", "x.tcp:1:8:", "options are"},
      {"listen\nconfig nagle: false", "x.tcp:2:1:", "in front of everything"},
      {"config nagel: false", "x.tcp:1:8:", "nagel"},
      {"config rto_min_us: 5", "x.tcp:1:8:", "rto_min_us"},
      {"mtu 0", "x.tcp:1:5:", "above 0"},
      {"expect_state OPEN", "x.tcp:1:14:", "known are CLOSED"},
      {"expect_event closed EPERM", "x.tcp:1:21:", "known are ETIMEDOUT"},
      {"expect_stat syns 1", "x.tcp:1:13:", "no such counter"},
      {"expect_stat syns_received", "x.tcp:1:26:", "number that it is to be"},
      {"expect_info rto 1", "x.tcp:1:13:", "no such number"},
      {"option nagle false", "x.tcp:1:8:", "no such field"},
      {"option no_delay 1", "x.tcp:1:17:", "true or false"},
      {"refused close", "x.tcp:1:9:", "never refused"},
      {"icmp redirect", "x.tcp:1:6:", "known are host_unreachable"},
      {"peer 10.0.0 5000", "x.tcp:1:6:", "10.0.0"},
      {"peer 10.0.0.9", "x.tcp:1:14:", "the peer's port"},
      {"write", "x.tcp:1:6:", "give a number"},
      {"write 10 takes", "x.tcp:1:15:", "how many bytes"},
  };
  for (const Bad& bad : kBad) {
    const std::string error = ErrorOf(bad.text);
    EXPECT_TRUE(absl::StartsWith(error, bad.place)) << bad.text << "\n" << error;
    EXPECT_TRUE(absl::StrContains(error, bad.what)) << bad.text << "\n" << error;
  }
}

TEST(ScriptParserTest, CommentsAndEmptyLines) {
  const auto script = Parse("x.tcp", "# a rule\n\n  listen 80 # the port\n");
  ASSERT_TRUE(script.ok()) << script.status();
  ASSERT_EQ(script->lines.size(), 1u);
  EXPECT_EQ(script->lines[0].number, 3);
}

TEST(ScriptParserTest, AFileThatIsNotThere) {
  EXPECT_EQ(Load("testdata/none.tcp").status().code(), absl::StatusCode::kNotFound);
}

constexpr absl::string_view kOpen =
    "listen\n< S 0 <mss 1000>\n> S. 0 ack 1 <mss 1460>\n"
    "+0.1 < . 1 ack 1\naccept\n";

TEST(ScriptRunnerTest, WhatHolds) { EXPECT_EQ(Failure(kOpen), ""); }

// What came is said in the words of a script.
TEST(ScriptRunnerTest, WhatDoesNotHold) {
  struct Wrong {
    absl::string_view text;
    absl::string_view what;
  };
  const Wrong kWrong[] = {
      {"> . 1 ack 1", "x.tcp:6: > . 1 ack 1\nat 0.100000 s nothing came"},
      {"write 10\n> P. 1(11) ack 1", "this came (length):\n  > P. 1:11(10) ack 1 win "},
      {"write 10\n> . 1(10) ack 1", "(flags)"},
      {"write 10\n> P. 2(10) ack 1", "(sequence number)"},
      {"write 10\n> P. 1(10) ack 2", "(ack)"},
      {"write 10\n> P. 1(10) ack 1 win <100", "(win)"},
      {"write 10\n> P. 1(10) ack 1 <ts>", "(options)"},
      {"write 10\n> P. 1(10) ack 1 ect0", "(ECN bits)"},
      {"write 10\n+1 quiet", "this was not expected before '+1 quiet':\n  > P. 1:11(10)"},
      {"write 10\n> P. 1(10)\n+0.5 > P. 1(10)", "(too early)"},
      {"write 10\n> P. 1(10)\n+0.01 > P. 1(10)", "nothing came"},
      {"write 10", "not expected before 'the script ends'"},
      {"write 10000000", "it took 768000 bytes"},
      {"read 1", "there were 0 bytes"},
      {"accept", "there is none to accept"},
      {"expect_event readable", "it is none"},
      {"expect_state CLOSED", "it is ESTABLISHED"},
      {"expect_stat resets_sent > 0", "it is 0"},
      {"refused listen 81", "it was not refused"},
      {"listen 80", "ALREADY_EXISTS"},
      {"peer - 6000\n< . 1 ack 1\npeer - 5000\n> R 1", "to another peer"},
  };
  for (const Wrong& wrong : kWrong) {
    const std::string failure = Failure(std::string(kOpen) + std::string(wrong.text));
    EXPECT_TRUE(absl::StrContains(failure, wrong.what)) << wrong.text << "\n" << failure;
    if (failure.empty()) continue;
    EXPECT_TRUE(absl::StrContains(failure, "so far:\n  0.000000 listen\n")) << failure;
  }
}

}  // namespace
}  // namespace weft::tcp::script
