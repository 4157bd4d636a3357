// SPDX-License-Identifier: Apache-2.0
#include "weft/core/line_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

namespace weft {
namespace {

std::string PathOf(const std::string& name) {
  const std::string path = testing::TempDir() + "/" + name;
  std::remove(path.c_str());
  return path;
}

std::string ContentOf(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(LineFileTest, AddsToWhatIsThere) {
  const std::string path = PathOf("adds");
  std::ofstream(path) << "before\n";
  auto file = LineFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(file->Write("one\n"));
  EXPECT_TRUE(file->Write("two\nthree\n"));
  EXPECT_EQ(ContentOf(path), "before\none\ntwo\nthree\n");
}

TEST(LineFileTest, SaysWhatItCannotOpen) {
  const auto file = LineFile::Open("/nowhere/at/all");
  EXPECT_EQ(file.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(file.status().message().find("'/nowhere/at/all'"), std::string::npos);
}

TEST(LineFileTest, BeginsAnewWhereTheFileWasMovedAway) {
  const std::string path = PathOf("moved");
  auto file = LineFile::Open(path);
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(file->Write("old\n"));
  ASSERT_EQ(std::rename(path.c_str(), (path + ".1").c_str()), 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(1050));
  EXPECT_TRUE(file->Write("new\n"));
  EXPECT_EQ(ContentOf(path), "new\n");
  EXPECT_EQ(ContentOf(path + ".1"), "old\n");
}

TEST(LineFileTest, TellsOfAFailureAndGoesOn) {
  auto file = LineFile::Open("/dev/full");
  ASSERT_TRUE(file.ok());
  EXPECT_FALSE(file->Write("x\n"));
  EXPECT_EQ(file->reason().code(), absl::StatusCode::kResourceExhausted) << file->reason();
  EXPECT_FALSE(file->Write("x\n"));
}

TEST(LineFileTest, AReaderThatDoesNotReadIsNotWaitedForForever) {
  const std::string path = PathOf("pipe");
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  const UniqueFd reader(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  auto file = LineFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_FALSE(file->Write(std::string(10 << 20, 'x')));
}

TEST(LineFileTest, ALineThatWasCutOffEndsBeforeTheNext) {
  const std::string path = PathOf("cut");
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  const UniqueFd reader(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  auto file = LineFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_FALSE(file->Write(std::string(10 << 20, 'x') + "\n"));
  std::string piece(1 << 20, '\0');
  EXPECT_GT(read(reader.get(), piece.data(), piece.size()), 0);
  EXPECT_TRUE(file->Write("next\n"));
  EXPECT_TRUE(file->Write("last\n"));
  const ssize_t n = read(reader.get(), piece.data(), piece.size());
  ASSERT_GT(n, 0);
  EXPECT_EQ(piece.substr(0, static_cast<size_t>(n)), "\nnext\nlast\n");
}

}  // namespace
}  // namespace weft
