// SPDX-License-Identifier: Apache-2.0
#include "weft/examples/http/file_cache.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "weft/core/temp_directory.h"

namespace weft::http {
namespace {

class FileCacheTest : public testing::Test {
 protected:
  FileCacheTest() {
    options_.root = directory_.path() + "/root";
    options_.bytes_max = 100;
    options_.file_bytes_max = 50;
    std::filesystem::create_directories(options_.root + "/dir/empty");
    Write("root/a.txt", "content of a");
    Write("root/dir/index.html", "index");
    Write("outside.txt", "secret");
    Open();
  }

  void Write(const std::string& name, const std::string& content) {
    std::ofstream(directory_.path() + "/" + name) << content;
  }
  void Link(const std::string& name, const std::string& target) {
    std::filesystem::create_symlink(target, options_.root + "/" + name);
  }
  void Open() {
    auto cache = FileCache::Open(options_);
    ASSERT_TRUE(cache.ok()) << cache.status();
    cache_ = *std::move(cache);
  }
  int Find(absl::string_view name) { return cache_->Find(name, now_ns_, &file_); }
  std::string Content() const {
    std::string content(file_->size, '\0');
    content.resize(file_->Read(0, {reinterpret_cast<uint8_t*>(content.data()), content.size()}));
    return content;
  }

  const TempDirectory directory_;
  FileCacheOptions options_;
  std::unique_ptr<FileCache> cache_;
  std::shared_ptr<const File> file_;
  int64_t now_ns_ = 0;
};

TEST_F(FileCacheTest, FilesAndDirectories) {
  ASSERT_EQ(Find("a.txt"), 200);
  EXPECT_EQ(Content(), "content of a");
  EXPECT_TRUE(absl::StrContains(file_->fields, "Content-Type: text/plain"));
  EXPECT_TRUE(absl::StrContains(file_->fields, file_->etag));
  ASSERT_EQ(Find("dir/"), 200);
  EXPECT_EQ(Content(), "index");
  EXPECT_EQ(Find("dir"), 301);
  EXPECT_EQ(Find("dir/empty/"), 403);
  EXPECT_EQ(Find(""), 403);
  EXPECT_EQ(Find("none"), 404);
  EXPECT_EQ(Find("none/"), 404);
  EXPECT_EQ(Find("a.txt/"), 404);
  EXPECT_EQ(Find("a.txt/b"), 404);
  EXPECT_EQ(Find(std::string(300, 'n')), 404);
  options_.index = "";
  Open();
  EXPECT_EQ(Find("dir/"), 403);
}

TEST_F(FileCacheTest, NothingLeadsOut) {
  Link("inside", "dir/index.html");
  Link("out", "../outside.txt");
  Link("absolute", directory_.path() + "/outside.txt");
  Link("up", "..");
  Link("loop", "loop");
  Link("back", "../root/a.txt");
  ASSERT_EQ(Find("inside"), 200);
  EXPECT_EQ(Content(), "index");
  EXPECT_EQ(Find("out"), 403);
  EXPECT_EQ(Find("absolute"), 403);
  EXPECT_EQ(Find("up/outside.txt"), 403);
  EXPECT_EQ(Find("up/root/a.txt"), 403);
  EXPECT_EQ(Find("back"), 403);
  EXPECT_EQ(Find("loop"), 404);
  // Names that the parser would never let through.
  EXPECT_EQ(Find("../outside.txt"), 403);
  EXPECT_EQ(Find("/etc/passwd"), 403);
}

TEST_F(FileCacheTest, PipesAndSocketsAreForbidden) {
  ASSERT_EQ(mkfifo((options_.root + "/pipe").c_str(), 0600), 0);
  EXPECT_EQ(Find("pipe"), 403);
}

TEST_F(FileCacheTest, WhatIsKeptIsNotReadAgainUntilItIsChecked) {
  ASSERT_EQ(Find("a.txt"), 200);
  const std::shared_ptr<const File> first = file_;
  Write("root/a.txt", "something new");
  ASSERT_EQ(Find("a.txt"), 200);
  EXPECT_EQ(file_, first);
  EXPECT_EQ(cache_->stats().hits.value(), 1u);
  now_ns_ += options_.check_ns;
  ASSERT_EQ(Find("a.txt"), 200);
  EXPECT_EQ(Content(), "something new");
  EXPECT_NE(file_->etag, first->etag);
  const std::shared_ptr<const File> second = file_;
  now_ns_ += options_.check_ns;
  ASSERT_EQ(Find("a.txt"), 200);
  EXPECT_EQ(file_, second);
  now_ns_ += options_.check_ns;
  std::filesystem::remove(options_.root + "/a.txt");
  EXPECT_EQ(Find("a.txt"), 404);
  EXPECT_EQ(cache_->bytes(), 0u);
}

TEST_F(FileCacheTest, TheOneUsedLongestAgoGoesFirst) {
  for (const char* name : {"1", "2", "3", "4"})
    Write(std::string("root/") + name, std::string(40, 'x'));
  EXPECT_EQ(Find("1"), 200);
  EXPECT_EQ(Find("2"), 200);
  EXPECT_EQ(Find("1"), 200);
  EXPECT_EQ(Find("3"), 200);
  EXPECT_EQ(cache_->bytes(), 80u);
  EXPECT_EQ(cache_->stats().evicted.value(), 1u);
  EXPECT_EQ(Find("1"), 200);
  EXPECT_EQ(cache_->stats().hits.value(), 2u);  // 2 is the one that went
}

TEST_F(FileCacheTest, LargeFilesAreReadThroughTheirDescriptor) {
  std::string large;
  for (int i = 0; large.size() < 1000; ++i) large += static_cast<char>('a' + i % 26);
  Write("root/large", large);
  ASSERT_EQ(Find("large"), 200);
  EXPECT_FALSE(file_->in_memory());
  EXPECT_EQ(Content(), large);
  EXPECT_EQ(cache_->bytes(), 0u);
  uint8_t room[100];
  EXPECT_EQ(file_->Read(950, absl::MakeSpan(room)), 50u);
  // What was opened stays, whatever happens to its name.
  std::filesystem::remove(options_.root + "/large");
  EXPECT_EQ(Content(), large);
}

TEST_F(FileCacheTest, ARootThatIsNotThere) {
  options_.root = directory_.path() + "/nowhere";
  const auto cache = FileCache::Open(options_);
  EXPECT_EQ(cache.status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(absl::StrContains(cache.status().message(), "nowhere")) << cache.status();
}

}  // namespace
}  // namespace weft::http
