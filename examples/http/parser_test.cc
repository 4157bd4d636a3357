// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/examples/http/conditions.h"
#include "weft/examples/http/date.h"
#include "weft/examples/http/path.h"
#include "weft/examples/http/range.h"
#include "weft/examples/http/request.h"
#include "weft/examples/http/response.h"

namespace weft::http {
namespace {

int Parse(absl::string_view text, RequestHead* head) { return ParseRequest(text, head); }

TEST(RequestTest, WhatARequestSays) {
  RequestHead head;
  ASSERT_EQ(Parse("GET /a/b?c=d HTTP/1.1\r\nHost: example\r\nX-Y:  z \r\n\r\n", &head), 0);
  EXPECT_EQ(head.method, "GET");
  EXPECT_EQ(head.path, "/a/b");
  EXPECT_EQ(head.query, "c=d");
  EXPECT_TRUE(head.keep_alive);
  ASSERT_NE(head.Find("x-y"), nullptr);
  EXPECT_EQ(head.Find("x-y")->value, "z");
  EXPECT_EQ(head.Find("z"), nullptr);
  EXPECT_FALSE(head.content_length);

  ASSERT_EQ(Parse("GET http://example?q HTTP/1.1\nHost: example\n\n", &head), 0);
  EXPECT_EQ(head.path, "/");
  EXPECT_EQ(head.query, "q");
  ASSERT_EQ(Parse("OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n", &head), 0);
  EXPECT_EQ(head.path, "*");
  ASSERT_EQ(Parse("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\ncontent-length: 12\r\n\r\n",
                  &head),
            0);
  EXPECT_EQ(head.content_length, 12u);
  ASSERT_EQ(Parse("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n", &head), 0);
  EXPECT_TRUE(head.chunked);
}

TEST(RequestTest, HowLongTheConnectionLives) {
  RequestHead head;
  for (const auto& [text, keep_alive] : std::vector<std::pair<std::string, bool>>{
           {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", true},
           {"GET / HTTP/1.1\r\nHost: h\r\nConnection: Close\r\n\r\n", false},
           {"GET / HTTP/1.1\r\nHost: h\r\nConnection: x, close ,y\r\n\r\n", false},
           {"GET / HTTP/1.0\r\n\r\n", false},
           {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true},
           {"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false}}) {
    ASSERT_EQ(Parse(text, &head), 0) << text;
    EXPECT_EQ(head.keep_alive, keep_alive) << text;
  }
}

TEST(RequestTest, WhatIsRefused) {
  RequestHead head;
  const std::string host = "Host: h\r\n";
  for (const auto& [text, status] : std::vector<std::pair<std::string, int>>{
           {"GET /\r\n\r\n", 400},
           {"GET / HTTP/1.1\r\n\r\n", 400},  // no Host
           {"GET / HTTP/1.1\r\n" + host + host + "\r\n", 400},
           {"GET / HTTP/2.0\r\n\r\n", 505},
           {"GET / HTTP/1.2\r\n\r\n", 505},
           {"GET / HTTPS/1.1\r\n\r\n", 400},
           {"GET  / HTTP/1.1\r\n" + host + "\r\n", 400},
           {"GET /a b HTTP/1.1\r\n" + host + "\r\n", 400},
           {"G(T / HTTP/1.1\r\n" + host + "\r\n", 400},
           {"GET relative HTTP/1.1\r\n" + host + "\r\n", 400},
           {"GET * HTTP/1.1\r\n" + host + "\r\n", 400},
           {"GET /\x01 HTTP/1.1\r\n" + host + "\r\n", 400},
           {"GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400},
           {"GET / HTTP/1.1\r\n" + host + " folded\r\n\r\n", 400},
           {"GET / HTTP/1.1\r\n" + host + "no colon\r\n\r\n", 400},
           {"GET / HTTP/1.1\r\n" + host + "a: b\rc\r\n\r\n", 400},
           {"GET / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
           {"GET / HTTP/1.1\r\n" + host + "Content-Length: +1\r\n\r\n", 400},
           {"GET / HTTP/1.1\r\n" + host + "Content-Length: 99999999999999999999\r\n\r\n", 400},
           {"GET / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400},
           {"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
           {"GET / HTTP/1.1\r\n" + host +
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            400},
           {"GET / HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip, chunked\r\n\r\n", 501}}) {
    EXPECT_EQ(Parse(text, &head), status) << text;
  }
  std::string many = "GET / HTTP/1.1\r\n" + host;
  for (size_t i = 0; i < RequestHead::kFieldsMax; ++i) absl::StrAppend(&many, "a: b\r\n");
  EXPECT_EQ(Parse(many + "\r\n", &head), 431);
}

TEST(HeadScannerTest, TheEndInPiecesOfAllSizes) {
  for (const std::string text : {"GET / HTTP/1.1\r\nA: b\r\n\r\n", "GET /\n\n", "a\n\r\n"}) {
    for (size_t size = 1; size <= text.size(); ++size) {
      HeadScanner scanner;
      size_t end = 0;
      for (size_t at = 0; at < text.size() && end == 0; at += size) {
        const size_t n = scanner.Scan(absl::string_view(text).substr(at, size));
        if (n != 0) end = at + n;
      }
      EXPECT_EQ(end, text.size()) << size;
    }
  }
  HeadScanner scanner;
  EXPECT_EQ(scanner.Scan("GET / HTTP/1.1\r\n\rX\r\n"), 0u);
  EXPECT_EQ(scanner.Scan("\r\nmore"), 2u);
  EXPECT_EQ(scanner.Scan("GET /\r\n\r\nGET"), 9u);
}

TEST(PathTest, NamesBelowTheRoot) {
  std::string name;
  for (const auto& [path, expected] :
       std::vector<std::pair<std::string, std::string>>{{"/", ""},
                                                        {"/a.txt", "a.txt"},
                                                        {"/a/", "a/"},
                                                        {"//a///b", "a/b"},
                                                        {"/a/./b/../c", "a/c"},
                                                        {"/a/b/..", "a/"},
                                                        {"/a/..", ""},
                                                        {"/a/.", "a/"},
                                                        {"/%61%20b/%2E%2e/c", "c"},
                                                        {"/...", "..."},
                                                        {"/..a/b..", "..a/b.."},
                                                        {"/a\\..\\b", "a\\..\\b"}}) {
    EXPECT_EQ(DecodePath(path, &name), 0) << path;
    EXPECT_EQ(name, expected) << path;
  }
  for (const auto& [path, status] :
       std::vector<std::pair<std::string, int>>{{"", 400},
                                                {"a", 400},
                                                {"/%", 400},
                                                {"/%4", 400},
                                                {"/%zz", 400},
                                                {"/%00", 400},
                                                {"/a%2Fb", 404},
                                                {"/..%2f..%2fetc/passwd", 404},
                                                {"/..", 403},
                                                {"/../etc/passwd", 403},
                                                {"/a/../../etc/passwd", 403},
                                                {"/%2e%2e/etc/passwd", 403},
                                                {"/" + std::string(kPathBytesMax, 'a'), 400}}) {
    EXPECT_EQ(DecodePath(path, &name), status) << path;
  }
  EXPECT_EQ(EncodePath("a b/\xc3\xa4?.txt"), "a%20b/%C3%A4%3F.txt");
}

TEST(PathTest, MediaTypes) {
  EXPECT_EQ(MediaType("a/index.html"), "text/html; charset=utf-8");
  EXPECT_EQ(MediaType("A.PNG"), "image/png");
  EXPECT_EQ(MediaType("a.b/c"), "application/octet-stream");
  EXPECT_EQ(MediaType("a.zzz"), "application/octet-stream");
  EXPECT_EQ(MediaType("archive.tar.gz"), "application/gzip");
}

TEST(RangeTest, OneRangeIsServed) {
  const auto part = [](absl::string_view value, uint64_t size) {
    const Range range = ParseRange(value, size);
    return absl::StrCat(range.kind == Range::Kind::kPart    ? "part "
                        : range.kind == Range::Kind::kWhole ? "whole "
                                                            : "none ",
                        range.begin, " ", range.length);
  };
  EXPECT_EQ(part("bytes=0-0", 10), "part 0 1");
  EXPECT_EQ(part("Bytes=2-", 10), "part 2 8");
  EXPECT_EQ(part("bytes=2-100", 10), "part 2 8");
  EXPECT_EQ(part("bytes=-3", 10), "part 7 3");
  EXPECT_EQ(part("bytes=-30", 10), "part 0 10");
  EXPECT_EQ(part("bytes=10-", 10), "none 0 0");
  EXPECT_EQ(part("bytes=-0", 10), "none 0 0");
  EXPECT_EQ(part("bytes=0-0", 0), "none 0 0");
  for (const char* whole : {"bytes=1-0", "bytes=", "bytes=-", "bytes=a-b", "bytes=0-1,3-4",
                            "lines=0-1", "0-1", "bytes=99999999999999999999-"}) {
    EXPECT_EQ(part(whole, 10), "whole 0 10") << whole;
  }
}

TEST(DateTest, AllThreeForms) {
  EXPECT_EQ(FormatDate(784111777), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(FormatDate(0), "Thu, 01 Jan 1970 00:00:00 GMT");
  EXPECT_EQ(ParseDate("Sun, 06 Nov 1994 08:49:37 GMT"), 784111777);
  EXPECT_EQ(ParseDate("Sunday, 06-Nov-94 08:49:37 GMT"), 784111777);
  EXPECT_EQ(ParseDate("Sun Nov  6 08:49:37 1994"), 784111777);
  EXPECT_EQ(ParseDate("Sun Nov 16 08:49:37 1994"), 784975777);
  for (const char* wrong : {"", "Sun", "Sun, 06 Nov 1994 08:49:37", "Sun, 31 Feb 1994 08:49:37 GMT",
                            "Sun, 06 Nov 1994 24:49:37 GMT", "Sun, 06 ovD 1994 08:49:37 GMT",
                            "Sun, 06 Nov 1994 08:49:37 GMT ", "1994-11-06"}) {
    EXPECT_FALSE(ParseDate(wrong)) << wrong;
  }
}

TEST(ConditionsTest, InTheOrderOfTheRfc) {
  constexpr absl::string_view kTag = "\"x\"";
  constexpr int64_t kModified = 784111777;
  const auto check = [&](const std::string& fields) {
    RequestHead head;
    const std::string text = "GET / HTTP/1.0\r\n" + fields + "\r\n";
    EXPECT_EQ(ParseRequest(text, &head), 0);
    return CheckConditions(head, kTag, kModified);
  };
  const std::string since = "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
  EXPECT_EQ(check(""), 200);
  EXPECT_EQ(check("If-None-Match: \"x\"\r\n"), 304);
  EXPECT_EQ(check("If-None-Match: \"a,b\", W/\"x\"\r\n"), 304);
  EXPECT_EQ(check("If-None-Match: *\r\n"), 304);
  EXPECT_EQ(check("If-None-Match: \"y\"\r\n" + since), 200);
  EXPECT_EQ(check("If-None-Match: x\r\n"), 200);
  EXPECT_EQ(check(since), 304);
  EXPECT_EQ(check("If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n"), 200);
  EXPECT_EQ(check("If-Modified-Since: nonsense\r\n"), 200);
  EXPECT_EQ(check("If-Match: \"x\"\r\n"), 200);
  EXPECT_EQ(check("If-Match: W/\"x\"\r\n"), 412);
  EXPECT_EQ(check("If-Match: \"y\"\r\n"), 412);
  EXPECT_EQ(check("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n"), 412);
  EXPECT_EQ(check("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n"), 200);

  const auto applies = [&](const std::string& value) {
    RequestHead head;
    const std::string text = "GET / HTTP/1.0\r\nIf-Range: " + value + "\r\n\r\n";
    EXPECT_EQ(ParseRequest(text, &head), 0);
    return RangeApplies(head, kTag, kModified);
  };
  EXPECT_TRUE(applies("\"x\""));
  EXPECT_FALSE(applies("W/\"x\""));
  EXPECT_TRUE(applies("Sun, 06 Nov 1994 08:49:37 GMT"));
  EXPECT_FALSE(applies("Sun, 06 Nov 1994 08:49:38 GMT"));
}

// The bodies of the answers in `text`, in pieces of `size`; "!" for what is malformed.
std::string Bodies(absl::string_view text, size_t size, bool to_head = false) {
  AnswerReader reader;
  reader.Begin(to_head);
  std::string bodies;
  while (!text.empty()) {
    absl::string_view body;
    const ptrdiff_t taken = reader.Take(text.substr(0, size), &body);
    if (taken < 0) return bodies + "!";
    bodies.append(body.data(), body.size());
    text.remove_prefix(static_cast<size_t>(taken));
    if (reader.complete()) {
      absl::StrAppend(&bodies, "[", reader.status(), reader.keep_alive() ? "]" : ".]");
      reader.Begin(to_head);
    }
  }
  if (reader.has_head() && reader.End()) absl::StrAppend(&bodies, "[end]");
  return bodies;
}

TEST(AnswerReaderTest, BodiesInPiecesOfAllSizes) {
  const std::string answers =
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
      "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"
      "HTTP/1.1 100 Continue\r\n\r\n"
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nchunk\r\nA\r\n0123456789\r\n"
      "0\r\nTrailer: x\r\n\r\n"
      "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"
      "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nrest";
  for (size_t size = 1; size < answers.size() + 1; ++size) {
    EXPECT_EQ(Bodies(answers, size), "hello[200][304]chunk0123456789[200][200.]rest[end]") << size;
  }
  EXPECT_EQ(Bodies("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 9, /*to_head=*/true), "[200]");
}

TEST(AnswerReaderTest, MalformedAnswers) {
  for (const char* text :
       {"HTTP/2 200\r\n\r\n", "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1111111111111111\r\n"}) {
    EXPECT_TRUE(absl::string_view(Bodies(text, 7)).find('!') != absl::string_view::npos) << text;
  }
  EXPECT_EQ(Bodies(std::string(AnswerReader::kHeadBytesMax + 1, 'h'), 100), "!");
}

}  // namespace
}  // namespace weft::http
