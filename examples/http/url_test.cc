// SPDX-License-Identifier: Apache-2.0
#include "weft/examples/http/url.h"

#include <array>
#include <initializer_list>

#include "gtest/gtest.h"

namespace weft::http {
namespace {

TEST(UrlTest, WhereItLeads) {
  for (const auto& [text, server, host, target] : std::initializer_list<std::array<const char*, 4>>{
           {"http://10.0.0.1/a?b#c", "10.0.0.1:80", "10.0.0.1", "/a?b"},
           {"http://10.0.0.1:8080", "10.0.0.1:8080", "10.0.0.1:8080", "/"},
           {"http://10.0.0.1?q", "10.0.0.1:80", "10.0.0.1", "/?q"},
           {"http://[fd00::2]/", "[fd00::2]:80", "[fd00::2]", "/"},
           {"http://[fd00::2]:81/", "[fd00::2]:81", "[fd00::2]:81", "/"},
           {"http://localhost:1/x", "127.0.0.1:1", "localhost:1", "/x"},
           {"shm:httpd/x", "shm:httpd", "shm:httpd", "/x"}}) {
    const absl::StatusOr<Url> url = ParseUrl(text);
    ASSERT_TRUE(url.ok()) << text << url.status();
    EXPECT_EQ(url->server.ToString(), server);
    EXPECT_EQ(url->host, host);
    EXPECT_EQ(url->target, target);
  }
  for (const char* text : {"", "https://10.0.0.1/", "10.0.0.1:80", "http://", "http://name/"}) {
    EXPECT_EQ(ParseUrl(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace weft::http
