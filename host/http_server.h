// SPDX-License-Identifier: Apache-2.0
//
// A small HTTP/1.1 server for an operator's eyes: metrics and health. Its thread has a low
// priority and shares nothing with data paths.
//
//   auto server = HttpServer::Start("9100", {{"/healthz", [](const HttpRequest&) {
//                                              return HttpResponse{.body = "ok\n"};
//                                            }}});
//   if (!server.ok()) return server.status();
//   std::cout << (*server)->address() << "\n";  // 127.0.0.1:9100
//
// GET and HEAD only; a connection carries one request. Others get 400, 404, 405, 431 or 505 (RFC
// 9110, RFC 6585). It has no access control and no encryption: it is meant for loopback or for a
// network of operators, and its pages change nothing.
//
// What changes something is asked for with POST, of a server of its own at a Unix socket
// (StartLocal()), which serves none but root and the user that runs the program: no web page can
// reach it, whatever it makes a browser do.
#ifndef WEFT_HOST_HTTP_SERVER_H_
#define WEFT_HOST_HTTP_SERVER_H_

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "weft/core/unique_fd.h"

namespace weft {

struct HttpRequest {
  // "a=1&b=%3A" as {{"a", "1"}, {"b", ":"}}; of a name that is there twice, the last.
  std::map<std::string, std::string> query;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body = "";
  // Further header fields, such as {"Location", "/status"}; the program's own words, never a
  // peer's.
  std::vector<std::pair<std::string, std::string>> headers = {};
  // Set where the answer takes time: then the rest counts for nothing, and this is called every few
  // milliseconds, on the server's thread, until it gives the answer. Other requests do not wait.
  // Gone without being called again when the connection's time is over.
  std::function<std::optional<HttpResponse>()> later = nullptr;
};

// Beyond each limit somebody waits or is refused; nothing grows.
struct HttpLimits {
  // Connections at a time. Further ones wait in the kernel's queue.
  size_t connections = 16;
  // Request line and header fields; more is answered with 431.
  size_t request_bytes = 8192;
  // From accepting a connection to closing it.
  absl::Duration time = absl::Seconds(5);
};

class HttpServer {
 public:
  // What a path answers. Called on the server's thread, one at a time; it should not take long,
  // because other requests wait. What must wait for something itself answers `later`.
  using Page = std::function<HttpResponse(const HttpRequest&)>;

  // Listens at "PORT" of 127.0.0.1, "HOST:PORT" or "[IPV6]:PORT" and serves until destruction.
  // Port 0 takes a free one. Errors: InvalidArgument for another form or a host without an address,
  // AlreadyExists for a port in use, and what else the kernel refuses.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const std::string& listen,
                                                           std::map<std::string, Page> pages,
                                                           const HttpLimits& limits = {});

  // Listens at a Unix socket without a file, in the abstract namespace under a name that the kernel
  // chooses (unix(7)), and takes only POST, of which bodies are not read: what is asked for stands
  // in the query. Peers of other users, of which the kernel tells, get 403.
  static absl::StatusOr<std::unique_ptr<HttpServer>> StartLocal(std::map<std::string, Page> pages,
                                                                const HttpLimits& limits = {});

  // Answers one more path from now on; nothing happens if there is a page for it already. Any
  // thread.
  void Add(const std::string& path, Page page);

  // Closes all connections.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Where it listens, with the port that it got; of StartLocal(), "@NAME".
  const std::string& address() const { return address_; }

 private:
  struct Connection {
    Connection(UniqueFd fd, int64_t deadline_ns) : fd(std::move(fd)), deadline_ns(deadline_ns) {}

    UniqueFd fd;
    int64_t deadline_ns;
    std::string in;
    std::string out;                                     // Empty until there is an answer.
    std::function<std::optional<HttpResponse>()> later;  // Gives it.
    bool with_body = true;
    size_t sent = 0;        // Of out.
    bool draining = false;  // All is sent; the peer may still be sending.
  };

  HttpServer(UniqueFd listener, UniqueFd wake, std::string address, bool local,
             std::map<std::string, Page> pages, const HttpLimits& limits);

  void Serve();
  // Waits until there is something to do. False when the thread is to end.
  bool Wait();
  void Accept();
  bool MayAsk(const UniqueFd& peer) const;
  // Does what can be done without waiting. False when the connection is done with.
  bool Step(Connection& connection);
  bool Write(Connection& connection);
  // To the request that is complete in connection.in.
  HttpResponse Answer(Connection& connection) const;
  const Page* FindPage(const std::string& path) const;
  // Makes `out` of it: head, and body unless it is to a HEAD request. Or remembers what gives it.
  void Take(HttpResponse response, Connection* connection) const;

  const UniqueFd listener_;
  const UniqueFd wake_;  // An eventfd: readable when the thread is to end.
  const std::string address_;
  const bool local_;
  mutable std::mutex pages_mutex_;
  // Guarded by pages_mutex_. What is there stays there.
  std::map<std::string, Page> pages_;
  const HttpLimits limits_;
  std::vector<Connection> connections_;
  int64_t accept_after_ns_ = 0;  // A pause after the process ran out of descriptors.
  std::thread thread_;           // Last: it uses the others.
};

}  // namespace weft

#endif  // WEFT_HOST_HTTP_SERVER_H_
