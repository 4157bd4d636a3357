// SPDX-License-Identifier: Apache-2.0
//
// Every script of testdata/ is a test, whose name is the script's: rfc9293/syn.tcp is
// Scripts/ScriptTest.Holds/rfc9293_syn.
#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "weft/tcp/script/script.h"

namespace weft::tcp::script {
namespace {

constexpr char kFolder[] = "tcp/script/testdata";

std::vector<std::string> Files() {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(kFolder)) {
    if (entry.path().extension() != ".tcp") continue;
    files.push_back(std::filesystem::relative(entry.path(), kFolder).string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string TestName(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param.substr(0, info.param.size() - 4);
  for (char& letter : name) {
    if (std::isalnum(static_cast<unsigned char>(letter)) == 0) letter = '_';
  }
  return name;
}

class ScriptTest : public ::testing::TestWithParam<std::string> {};

TEST_P(ScriptTest, Holds) {
  const auto script = Load(std::string(kFolder) + "/" + GetParam());
  ASSERT_TRUE(script.ok()) << script.status().message();
  const absl::Status status = ::weft::tcp::script::Run(*script);
  EXPECT_TRUE(status.ok()) << status.message();
}

// The list of rules has all of them.
TEST_P(ScriptTest, StandsInTheList) {
  std::ifstream file("docs/protocols/tcp-conformance.md");
  ASSERT_TRUE(file);
  const std::string list{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const std::string name = std::filesystem::path(GetParam()).stem().string();
  EXPECT_NE(list.find("`" + name + "`"), std::string::npos) << name;
}

INSTANTIATE_TEST_SUITE_P(Scripts, ScriptTest, ::testing::ValuesIn(Files()), TestName);

}  // namespace
}  // namespace weft::tcp::script
