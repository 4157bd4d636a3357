// SPDX-License-Identifier: Apache-2.0
#include "weft/host/http_server.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "weft/core/unique_fd.h"
#include "weft/host/http_client.h"
#include "weft/host/http_test_client.h"

namespace weft {
namespace {

HttpResponse ShowQuery(const HttpRequest& request) {
  HttpResponse response;
  for (const auto& [name, value] : request.query) {
    absl::StrAppend(&response.body, "<", name, ">=<", value, "> ");
  }
  return response;
}

std::unique_ptr<HttpServer> StartServer(const HttpLimits& limits = {}) {
  auto server = HttpServer::Start(
      "0",
      {{"/metrics",
        [](const HttpRequest&) {
          return HttpResponse{.content_type = "text/plain; version=0.0.4", .body = "x 1\n"};
        }},
       {"/healthz",
        [](const HttpRequest&) { return HttpResponse{.status = 503, .body = "starting\n"}; }},
       {"/large",
        [](const HttpRequest&) { return HttpResponse{.body = std::string(8 << 20, 'x')}; }},
       {"/query", &ShowQuery},
       {"/old",
        [](const HttpRequest&) {
          return HttpResponse{.status = 302, .headers = {{"Location", "/query"}, {"X-Y", "z"}}};
        }},
       {"/later",
        [](const HttpRequest&) {
          return HttpResponse{.later = [turns = 0]() mutable -> std::optional<HttpResponse> {
            if (++turns < 3) return std::nullopt;
            return HttpResponse{.status = 400, .body = "at last\n"};
          }};
        }},
       {"/never",
        [](const HttpRequest&) {
          return HttpResponse{
              .later = []() -> std::optional<HttpResponse> { return std::nullopt; }};
        }}},
      limits);
  EXPECT_TRUE(server.ok()) << server.status();
  return *std::move(server);
}

UniqueFd Connect(const HttpServer& server) { return ConnectTo(server.address()); }

std::string Ask(const HttpServer& server, const std::string& request) {
  return AskHttp(server.address(), request);
}

std::string StatusLine(const std::string& response) {
  return response.substr(0, response.find("\r\n"));
}

std::string RunCurl(const std::string& arguments) {
  const std::string command = "curl -sS --noproxy '*' --max-time 60 " + arguments + " 2>&1";
  FILE* pipe = popen(command.c_str(), "r");
  std::string out;
  for (int c = fgetc(pipe); c != EOF; c = fgetc(pipe)) out.push_back(static_cast<char>(c));
  pclose(pipe);
  return out;
}

TEST(HttpServerTest, AnswersAPageAndCloses) {
  const auto server = StartServer();
  EXPECT_EQ(Ask(*server, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
            "HTTP/1.1 200 OK\r\n"
            "Content-Type: text/plain; version=0.0.4\r\n"
            "Content-Length: 4\r\n"
            "Cache-Control: no-store\r\n"
            "Connection: close\r\n"
            "\r\n"
            "x 1\n");
}

TEST(HttpServerTest, ServesCurl) {
  if (std::system("curl --version >/dev/null 2>&1") != 0) GTEST_SKIP() << "curl is not installed";
  const auto server = StartServer();
  const std::string url = "http://" + server->address();
  EXPECT_EQ(RunCurl(url + "/metrics"), "x 1\n");
  EXPECT_EQ(RunCurl("-w '%{http_code}' " + url + "/healthz"), "starting\n503");
  EXPECT_EQ(RunCurl("-o /dev/null -w '%{http_code} %{size_download}' " + url + "/large"),
            "200 8388608");
  EXPECT_EQ(RunCurl("-o /dev/null -w '%{http_code}' -d x=1 " + url + "/metrics"), "405");
  EXPECT_TRUE(absl::StrContains(RunCurl("-I " + url + "/metrics"), "Content-Length: 4\r\n"));
}

std::string Body(const std::string& response) {
  return response.substr(response.find("\r\n\r\n") + 4);
}

TEST(HttpServerTest, ServesItsClient) {
  auto server = StartServer();
  const std::string address = server->address();
  const auto query = HttpGet(address, "/query?a=" + HttpEncode("x &=%?/:\xc3\xa9"));
  ASSERT_TRUE(query.ok()) << query.status();
  EXPECT_EQ(query->body, "<a>=<x &=%?/:\xc3\xa9> ");
  EXPECT_EQ(HttpGet(address, "/healthz")->status, 503);
  EXPECT_EQ(HttpGet(address, "/large")->body.size(), size_t{8} << 20);
  EXPECT_EQ(HttpGet(address, "/never", absl::Milliseconds(20)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(HttpGet("localhost:x", "/").status().code(), absl::StatusCode::kInvalidArgument);
  server.reset();
  EXPECT_EQ(
      HttpGet(address, "/query").status().message(),
      absl::StrCat("nothing listens at ", address, "; is the host running, with metrics.listen?"));
}

TEST(HttpServerTest, PagesHaveHeadersOfTheirOwn) {
  const auto server = StartServer();
  const std::string answer = Ask(*server, "GET /old HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(StatusLine(answer), "HTTP/1.1 302 Found");
  EXPECT_TRUE(absl::StrContains(answer, "\r\nLocation: /query\r\nX-Y: z\r\n")) << answer;
}

TEST(HttpServerTest, PagesGetTheQuery) {
  const auto server = StartServer();
  const auto ask = [&](const std::string& query) {
    return Body(Ask(*server, absl::StrCat("GET /query", query, " HTTP/1.0\r\n\r\n")));
  };
  EXPECT_EQ(ask(""), "");
  EXPECT_EQ(ask("?"), "");
  EXPECT_EQ(ask("?a=1&b=x%20%3a=y&&flag"), "<a>=<1> <b>=<x :=y> <flag>=<> ");
  EXPECT_EQ(ask("?a=1&a=2"), "<a>=<2> ");
  EXPECT_EQ(ask("?a=%4&b=%zz&c=100%"), "<a>=<%4> <b>=<%zz> <c>=<100%> ");
}

TEST(HttpServerTest, AnAnswerMayTakeTimeAndHoldsUpNobody) {
  const auto server = StartServer({.time = absl::Seconds(2)});
  const UniqueFd never = Connect(*server);
  Put(never, "GET /never HTTP/1.0\r\n\r\n");
  const UniqueFd later = Connect(*server);
  Put(later, "GET /later HTTP/1.0\r\n\r\n");
  EXPECT_EQ(StatusLine(Ask(*server, "GET /metrics HTTP/1.0\r\n\r\n")), "HTTP/1.1 200 OK");
  const std::string response = Get(later);
  EXPECT_EQ(StatusLine(response), "HTTP/1.1 400 Bad Request");
  EXPECT_EQ(Body(response), "at last\n");
  EXPECT_EQ(Get(never), "");
  const std::string head = Ask(*server, "HEAD /later HTTP/1.0\r\n\r\n");
  EXPECT_EQ(StatusLine(head), "HTTP/1.1 400 Bad Request");
  EXPECT_EQ(Body(head), "");
}

TEST(HttpServerTest, AcceptsTheFormsOfTheStandard) {
  const auto server = StartServer();
  for (const char* request : {
           "GET /metrics HTTP/1.0\r\n\r\n",
           "GET /metrics HTTP/1.1\nHost: x\n\n",
           "GET /metrics?name=x HTTP/1.1\r\nhOST:\r\nAccept: */*\r\n\r\n",
           "GET http://x:9100/metrics HTTP/1.1\r\nHost: x\r\n\r\n",
           "GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody",
       }) {
    EXPECT_EQ(StatusLine(Ask(*server, request)), "HTTP/1.1 200 OK") << request;
  }
  const std::string head = Ask(*server, "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(absl::StrContains(head, "Content-Length: 4\r\n")) << head;
  EXPECT_TRUE(absl::EndsWith(head, "\r\n\r\n")) << head;
}

TEST(HttpServerTest, RefusesWhatItDoesNotServe) {
  const auto server = StartServer();
  const std::string host = " HTTP/1.1\r\nHost: x\r\n\r\n";
  EXPECT_EQ(StatusLine(Ask(*server, "GET /" + host)), "HTTP/1.1 404 Not Found");
  EXPECT_EQ(StatusLine(Ask(*server, "GET /metrics/../etc/passwd" + host)),
            "HTTP/1.1 404 Not Found");
  const std::string post = Ask(*server, "POST /metrics" + host);
  EXPECT_EQ(StatusLine(post), "HTTP/1.1 405 Method Not Allowed");
  EXPECT_TRUE(absl::StrContains(post, "\r\nAllow: GET, HEAD\r\n")) << post;
  EXPECT_EQ(StatusLine(Ask(*server, "GET /metrics HTTP/2.0\r\n\r\n")),
            "HTTP/1.1 505 HTTP Version Not Supported");
}

TEST(HttpServerTest, RefusesGarbage) {
  const auto server = StartServer();
  for (const std::string& request : {
           std::string("\r\n\r\n"), std::string("garbage\r\n\r\n"),
           std::string("GET /metrics\r\n\r\n"),
           std::string("GET  /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
           std::string("GET metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
           std::string("GET /metrics HTTP/1.1\r\n\r\n"),
           std::string("GET /metrics HTTP/1.1\r\nHost x\r\n\r\n"),
           std::string("GET /metrics HTTP/1.1\r\nHost : x\r\n\r\n"),
           std::string("GET /metrics HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n"),
           std::string("G") + '\0' + "T /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
           std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n", 13),  // TLS
       }) {
    EXPECT_EQ(StatusLine(Ask(*server, request)), "HTTP/1.1 400 Bad Request") << request;
  }
}

TEST(HttpServerTest, AHeaderHasALimit) {
  const auto server = StartServer({.request_bytes = 1000});
  const std::string begin = "GET /metrics HTTP/1.1\r\nHost: x\r\nX: ";
  const std::string end = "\r\n\r\n";
  const std::string fits(1000 - begin.size() - end.size(), 'x');
  EXPECT_EQ(StatusLine(Ask(*server, begin + fits + end)), "HTTP/1.1 200 OK");
  EXPECT_EQ(StatusLine(Ask(*server, begin + fits + "x" + end)),
            "HTTP/1.1 431 Request Header Fields Too Large");
  // The answer survives whatever the client still sends.
  const UniqueFd fd = Connect(*server);
  Put(fd, begin + std::string(100'000, 'x'));
  EXPECT_EQ(StatusLine(Get(fd)), "HTTP/1.1 431 Request Header Fields Too Large");
}

TEST(HttpServerTest, ARequestMayComeInPieces) {
  const auto server = StartServer();
  const UniqueFd fd = Connect(*server);
  for (const char c : std::string("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")) {
    Put(fd, std::string(1, c));
  }
  EXPECT_EQ(StatusLine(Get(fd)), "HTTP/1.1 200 OK");
}

TEST(HttpServerTest, ASlowClientIsCutOffAndHoldsUpNobody) {
  const auto server = StartServer({.time = absl::Seconds(2)});
  const UniqueFd slow = Connect(*server);
  Put(slow, "GET /metr");
  const UniqueFd does_not_read = Connect(*server);
  Put(does_not_read, "GET /large HTTP/1.0\r\n\r\n");
  EXPECT_EQ(StatusLine(Ask(*server, "GET /metrics HTTP/1.0\r\n\r\n")), "HTTP/1.1 200 OK");
  EXPECT_EQ(Get(slow), "");
  EXPECT_LT(Get(does_not_read).size(), size_t{8} << 20);
}

TEST(HttpServerTest, ConnectionsBeyondTheLimitWait) {
  const auto server = StartServer({.connections = 2, .time = absl::Seconds(60)});
  auto first = std::make_unique<UniqueFd>(Connect(*server));
  const UniqueFd second = Connect(*server);
  const UniqueFd third = Connect(*server);
  Put(third, "GET /metrics HTTP/1.0\r\n\r\n");
  Put(second, "GET /healthz HTTP/1.0\r\n\r\n");
  EXPECT_EQ(StatusLine(Get(second)), "HTTP/1.1 503 Service Unavailable");
  first.reset();
  EXPECT_EQ(StatusLine(Get(third)), "HTTP/1.1 200 OK");
}

TEST(HttpServerTest, EndsWithOpenConnections) {
  auto server = StartServer({.time = absl::Hours(1)});
  const UniqueFd idle = Connect(*server);
  // Answered only after `idle` was accepted.
  EXPECT_EQ(StatusLine(Ask(*server, "GET /metrics HTTP/1.0\r\n\r\n")), "HTTP/1.1 200 OK");
  server.reset();
  EXPECT_EQ(Get(idle), "");
}

TEST(HttpServerTest, ListensWhereItIsTold) {
  EXPECT_TRUE(absl::StartsWith(StartServer()->address(), "127.0.0.1:"));
  const auto v6 = HttpServer::Start("[::1]:0", {});
  if (v6.ok()) {
    EXPECT_TRUE(absl::StartsWith((*v6)->address(), "[::1]:")) << (*v6)->address();
  }
  const auto server = StartServer();
  const auto again = HttpServer::Start(server->address(), {});
  EXPECT_EQ(again.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(again.status().message(),
            absl::StrCat("cannot serve HTTP at '", server->address(),
                         "': Address already in use; choose another port, or 0 for a free one "
                         "(metrics.listen)"));
  EXPECT_EQ(HttpServer::Start("256.0.0.1:80", {}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(HttpServerTest, CommandsComeThroughAUnixSocketOnly) {
  int commands = 0;
  const auto local = HttpServer::StartLocal({{"/do", [&commands](const HttpRequest& request) {
                                                ++commands;
                                                return ShowQuery(request);
                                              }}});
  ASSERT_TRUE(local.ok()) << local.status();
  const auto reply = HttpPost((*local)->address(), "/do?what=10.0.0.1%3A8000");
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->status, 200);
  EXPECT_EQ(reply->body, "<what>=<10.0.0.1:8000> ");
  EXPECT_EQ(commands, 1);
  EXPECT_EQ(HttpPost((*local)->address(), "/other")->status, 404);

  // GET is for looking, and looking changes nothing.
  const std::string name = (*local)->address().substr(1);
  const std::string answer = RunCurl("-i --abstract-unix-socket " + name + " http://localhost/do");
  EXPECT_EQ(StatusLine(answer), "HTTP/1.1 405 Method Not Allowed");
  EXPECT_TRUE(absl::StrContains(answer, "\r\nAllow: POST\r\n")) << answer;
  EXPECT_EQ(StatusLine(RunCurl("-i -X POST -d x=y --abstract-unix-socket " + name +
                               " http://localhost/do")),
            "HTTP/1.1 200 OK");
  EXPECT_EQ(commands, 2);

  const auto server = StartServer();
  EXPECT_EQ(StatusLine(Ask(*server, "POST /query HTTP/1.1\r\nHost: x\r\n\r\n")),
            "HTTP/1.1 405 Method Not Allowed");
}

TEST(HttpServerTest, CommandsOfOtherUsersAreRefused) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root to be another user";
  const auto local = HttpServer::StartLocal(
      {{"/do", [](const HttpRequest&) { return HttpResponse{.body = "done\n"}; }}});
  ASSERT_TRUE(local.ok()) << local.status();
  // The kernel notes whose a connection is when it is made. Of this thread only: glibc's seteuid()
  // would be of all, the server's own included.
  absl::StatusOr<HttpReply> reply = absl::UnknownError("nobody asked");
  std::thread([&] {
    syscall(SYS_setresuid, -1, 65534, -1);
    reply = HttpPost((*local)->address(), "/do");
  }).join();
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->status, 403);
  EXPECT_EQ(HttpPost((*local)->address(), "/do")->status, 200);
}

TEST(HttpServerTest, ANameThatIsNoneIsAnError) {
  for (const char* name : {"", "@", "127.0.0.1:1"}) {
    EXPECT_EQ(HttpPost(name, "/do").status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
  EXPECT_EQ(HttpPost("@weft-nobody-is-here", "/do").status().code(),
            absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace weft
