// SPDX-License-Identifier: Apache-2.0
#include "weft/host/http_server.h"

#include <netdb.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"
#include "weft/core/clock.h"
#include "weft/core/cpu.h"
#include "weft/host/host_port.h"
#include "weft/host/http_status.h"

namespace weft {
namespace {

constexpr int kBacklog = 64;
constexpr int64_t kDescriptorPauseNs = 100'000'000;
constexpr int64_t kLaterNs = 5'000'000;  // between looks whether an answer is there

int64_t NowNs() { return MonotonicClock().NowNs(); }

absl::StatusOr<UniqueFd> Listen(const std::string& text) {
  const auto [host, port] = SplitHostPort(text);
  addrinfo hints = {};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  if (error != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot serve HTTP at '", text, "': ", gai_strerror(error),
                     "; give \"HOST:PORT\", \"[IPV6]:PORT\" or \"PORT\" (metrics.listen)"));
  }
  const absl::Cleanup free_found = [&found] { freeaddrinfo(found); };
  UniqueFd fd(socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1;
  if (!fd || setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
      bind(fd.get(), found->ai_addr, found->ai_addrlen) != 0 || listen(fd.get(), kBacklog) != 0) {
    const int cause = errno;
    const absl::Status status =
        absl::ErrnoToStatus(cause, absl::StrCat("cannot serve HTTP at '", text, "'"));
    if (cause != EADDRINUSE) return status;
    return absl::AlreadyExistsError(absl::StrCat(
        status.message(), "; choose another port, or 0 for a free one (metrics.listen)"));
  }
  return fd;
}

std::string LocalAddress(int fd) {
  sockaddr_storage name;
  socklen_t length = sizeof(name);
  char host[NI_MAXHOST];
  char port[NI_MAXSERV];
  auto* generic = reinterpret_cast<sockaddr*>(&name);
  if (getsockname(fd, generic, &length) != 0 ||
      getnameinfo(generic, length, host, sizeof(host), port, sizeof(port),
                  NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "?";
  }
  const bool v6 = name.ss_family == AF_INET6;
  return absl::StrCat(v6 ? "[" : "", host, v6 ? "]" : "", ":", port);
}

// Of a name that the kernel chooses: it does when there is none (unix(7), "Autobind feature").
absl::StatusOr<UniqueFd> ListenLocally() {
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_un nameless = {};
  nameless.sun_family = AF_UNIX;
  if (!fd ||
      bind(fd.get(), reinterpret_cast<sockaddr*>(&nameless), offsetof(sockaddr_un, sun_path)) !=
          0 ||
      listen(fd.get(), kBacklog) != 0) {
    return absl::ErrnoToStatus(errno, "cannot listen at a Unix socket");
  }
  return fd;
}

std::string LocalName(int fd) {
  sockaddr_un name = {};
  socklen_t length = sizeof(name);
  constexpr socklen_t kBegin = offsetof(sockaddr_un, sun_path) + 1;  // behind a zero byte
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length) != 0 || length < kBegin) {
    return "?";
  }
  return absl::StrCat("@", absl::string_view(name.sun_path + 1, length - kBegin));
}

std::string Render(const HttpResponse& response, bool with_body, bool local) {
  std::string headers;
  for (const auto& [name, value] : response.headers) {
    absl::StrAppend(&headers, name, ": ", value, "\r\n");
  }
  return absl::StrCat("HTTP/1.1 ", response.status, " ", ReasonPhrase(response.status), "\r\n",
                      response.status != 405 ? ""
                      : local                ? "Allow: POST\r\n"
                                             : "Allow: GET, HEAD\r\n",
                      "Content-Type: ", response.content_type, "\r\n",
                      "Content-Length: ", response.body.size(), "\r\n", headers,
                      "Cache-Control: no-store\r\nConnection: close\r\n\r\n",
                      with_body ? response.body : "");
}

HttpResponse Refuse(int status) {
  return {.status = status, .body = absl::StrCat(status, " ", ReasonPhrase(status), "\n")};
}

int HexDigit(char c) {
  if (absl::ascii_isdigit(static_cast<unsigned char>(c))) return c - '0';
  const char lower = absl::ascii_tolower(static_cast<unsigned char>(c));
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// Percent-encoded bytes (RFC 3986 section 2.1) as they are; what is no encoding stays.
std::string Decode(absl::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && HexDigit(text[i + 1]) >= 0 &&
        HexDigit(text[i + 2]) >= 0) {
      decoded.push_back(static_cast<char>(HexDigit(text[i + 1]) << 4 | HexDigit(text[i + 2])));
      i += 2;
    } else {
      decoded.push_back(text[i]);
    }
  }
  return decoded;
}

HttpRequest ParseQuery(absl::string_view text) {
  HttpRequest request;
  for (const absl::string_view part : absl::StrSplit(text, '&', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> field =
        absl::StrSplit(part, absl::MaxSplits('=', 1));
    request.query[Decode(field.first)] = Decode(field.second);
  }
  return request;
}

// What pages need of HTTP, and no more. The parser of a server of files, which keeps connections
// and knows bodies and ranges, is in examples/http, on which no library depends.

// Length of a request line and header fields with the empty line that ends them; 0 if the end is
// not there yet. A bare newline ends a line too (RFC 9112 section 2.2).
size_t HeadLength(const std::string& in) {
  for (size_t i = in.find('\n'); i != std::string::npos; i = in.find('\n', i + 1)) {
    if (in.compare(i + 1, 1, "\n") == 0) return i + 2;
    if (in.compare(i + 1, 2, "\r\n") == 0) return i + 3;
  }
  return 0;
}

bool IsToken(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || absl::StrContains("!#$%&'*+-.^_`|~", c);
  });
}

struct RequestLine {
  absl::string_view method;
  std::string path;
  absl::string_view query;
  absl::string_view version;
};

// RFC 9112 section 3. An absolute target loses its host.
bool ParseRequestLine(absl::string_view line, RequestLine* request) {
  const std::vector<absl::string_view> parts = absl::StrSplit(line, ' ');
  if (parts.size() != 3 || !IsToken(parts[0])) return false;
  absl::string_view target = parts[1];
  if (absl::ConsumePrefix(&target, "http://")) {
    target.remove_prefix(std::min(target.find('/'), target.size()));
  }
  if (!std::all_of(target.begin(), target.end(), absl::ascii_isgraph)) return false;
  const size_t path_length = std::min(target.find('?'), target.size());
  const absl::string_view query = target.substr(std::min(path_length + 1, target.size()));
  target = target.substr(0, path_length);
  if (!absl::StartsWith(target, "/") && target != "*") return false;
  if (!absl::StartsWith(parts[2], "HTTP/")) return false;
  *request = {parts[0], std::string(target), query, parts[2]};
  return true;
}

// Whether all header fields are well formed (RFC 9112 section 5) and, in HTTP/1.1, a Host is there.
bool CheckFields(absl::Span<const absl::string_view> lines, bool needs_host) {
  bool has_host = false;
  for (absl::string_view line : lines) {
    const size_t colon = line.find(':');
    if (colon == absl::string_view::npos || !IsToken(line.substr(0, colon))) return false;
    if (std::any_of(line.begin(), line.end(), [](char c) { return c == '\r' || c == '\0'; })) {
      return false;
    }
    has_host |= absl::EqualsIgnoreCase(line.substr(0, colon), "host");
  }
  return has_host || !needs_host;
}

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const std::string& listen,
                                                              std::map<std::string, Page> pages,
                                                              const HttpLimits& limits) {
  absl::StatusOr<UniqueFd> listener = Listen(listen);
  if (!listener.ok()) return listener.status();
  UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return absl::ErrnoToStatus(errno, "cannot serve HTTP: eventfd");
  std::string address = LocalAddress(listener->get());
  return std::unique_ptr<HttpServer>(new HttpServer(*std::move(listener), std::move(wake),
                                                    std::move(address), /*local=*/false,
                                                    std::move(pages), limits));
}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::StartLocal(
    std::map<std::string, Page> pages, const HttpLimits& limits) {
  absl::StatusOr<UniqueFd> listener = ListenLocally();
  if (!listener.ok()) return listener.status();
  UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return absl::ErrnoToStatus(errno, "cannot listen at a Unix socket: eventfd");
  std::string address = LocalName(listener->get());
  return std::unique_ptr<HttpServer>(new HttpServer(*std::move(listener), std::move(wake),
                                                    std::move(address), /*local=*/true,
                                                    std::move(pages), limits));
}

HttpServer::HttpServer(UniqueFd listener, UniqueFd wake, std::string address, bool local,
                       std::map<std::string, Page> pages, const HttpLimits& limits)
    : listener_(std::move(listener)),
      wake_(std::move(wake)),
      address_(std::move(address)),
      local_(local),
      pages_(std::move(pages)),
      limits_(limits) {
  // Signals are for the program's own threads.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread(&HttpServer::Serve, this);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

HttpServer::~HttpServer() {
  eventfd_write(wake_.get(), 1);
  thread_.join();
}

void HttpServer::Serve() {
  RunInBackground("weft-http");
  while (Wait()) {
    const int64_t now_ns = NowNs();
    std::erase_if(connections_, [this, now_ns](Connection& connection) {
      return !Step(connection) || connection.deadline_ns <= now_ns;
    });
    Accept();
  }
}

bool HttpServer::Wait() {
  std::vector<pollfd> polled = {{.fd = wake_.get(), .events = POLLIN, .revents = 0}};
  int64_t until_ns = INT64_MAX;
  const int64_t now_ns = NowNs();
  for (const Connection& connection : connections_) {
    until_ns = std::min(until_ns, connection.deadline_ns);
    if (connection.later) {
      until_ns = std::min(until_ns, now_ns + kLaterNs);
      continue;
    }
    const bool writes = connection.sent < connection.out.size();
    polled.push_back({.fd = connection.fd.get(),
                      .events = static_cast<short>(writes ? POLLOUT : POLLIN),
                      .revents = 0});
  }
  if (now_ns < accept_after_ns_) {
    until_ns = std::min(until_ns, accept_after_ns_);
  } else if (connections_.size() < limits_.connections) {
    polled.push_back({.fd = listener_.get(), .events = POLLIN, .revents = 0});
  }
  // Rounded up, or the last millisecond would be spent spinning.
  const int timeout_ms =
      until_ns == INT64_MAX
          ? -1
          : static_cast<int>(std::max<int64_t>(0, (until_ns - now_ns + 999'999) / 1'000'000));
  poll(polled.data(), polled.size(), timeout_ms);
  return polled[0].revents == 0;
}

void HttpServer::Accept() {
  const int64_t now_ns = NowNs();
  while (now_ns >= accept_after_ns_ && connections_.size() < limits_.connections) {
    UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd) {
      // The queue stays readable when there is no descriptor to take it with.
      if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
        accept_after_ns_ = now_ns + kDescriptorPauseNs;
      }
      return;
    }
    const bool may_ask = MayAsk(fd);
    connections_.emplace_back(std::move(fd), now_ns + absl::ToInt64Nanoseconds(limits_.time));
    if (!may_ask) Take(Refuse(403), &connections_.back());
  }
}

bool HttpServer::MayAsk(const UniqueFd& peer) const {
  if (!local_) return true;
  ucred user = {};
  socklen_t length = sizeof(user);
  return getsockopt(peer.get(), SOL_SOCKET, SO_PEERCRED, &user, &length) == 0 &&
         (user.uid == 0 || user.uid == geteuid());
}

bool HttpServer::Step(Connection& connection) {
  if (connection.later) {
    if (std::optional<HttpResponse> response = connection.later()) {
      Take(*std::move(response), &connection);
    }
    return connection.later ? true : Write(connection);
  }
  if (!connection.out.empty() && !connection.draining) return Write(connection);
  char bytes[4096];
  const ssize_t n = recv(connection.fd.get(), bytes, sizeof(bytes), 0);
  if (n <= 0) return n < 0 && (errno == EAGAIN || errno == EINTR);
  if (connection.draining) return true;
  connection.in.append(bytes, static_cast<size_t>(n));
  if (const size_t length = HeadLength(connection.in);
      length > 0 && length <= limits_.request_bytes) {
    connection.in.resize(length);
    Take(Answer(connection), &connection);
  } else if (connection.in.size() > limits_.request_bytes) {
    Take(Refuse(431), &connection);
  } else {
    return true;
  }
  return connection.later ? true : Write(connection);
}

bool HttpServer::Write(Connection& connection) {
  const ssize_t n = send(connection.fd.get(), connection.out.data() + connection.sent,
                         connection.out.size() - connection.sent, MSG_NOSIGNAL);
  if (n < 0) return errno == EAGAIN || errno == EINTR;
  connection.sent += static_cast<size_t>(n);
  if (connection.sent < connection.out.size()) return true;
  // Closing with unread bytes would reset the connection and destroy the answer on its way (RFC
  // 9112 section 9.6): wait for the peer to close first.
  shutdown(connection.fd.get(), SHUT_WR);
  connection.draining = true;
  return true;
}

void HttpServer::Take(HttpResponse response, Connection* connection) const {
  connection->later = std::move(response.later);
  if (!connection->later) connection->out = Render(response, connection->with_body, local_);
}

HttpResponse HttpServer::Answer(Connection& connection) const {
  std::vector<absl::string_view> lines = absl::StrSplit(connection.in, '\n');
  for (absl::string_view& line : lines) absl::ConsumeSuffix(&line, "\r");
  RequestLine line;
  if (!ParseRequestLine(lines[0], &line)) return Refuse(400);
  if (line.version != "HTTP/1.1" && line.version != "HTTP/1.0") return Refuse(505);
  // The last two are the empty line and what is behind its end: nothing.
  const absl::Span<const absl::string_view> fields =
      absl::MakeConstSpan(lines).subspan(1, lines.size() - 3);
  if (!CheckFields(fields, line.version == "HTTP/1.1")) return Refuse(400);
  const bool right = local_ ? line.method == "POST" : line.method == "GET" || line.method == "HEAD";
  if (!right) return Refuse(405);
  const Page* const page = FindPage(line.path);
  if (page == nullptr) return Refuse(404);
  connection.with_body = line.method != "HEAD";
  return (*page)(ParseQuery(line.query));
}

void HttpServer::Add(const std::string& path, Page page) {
  const std::lock_guard<std::mutex> lock(pages_mutex_);
  pages_.emplace(path, std::move(page));
}

const HttpServer::Page* HttpServer::FindPage(const std::string& path) const {
  const std::lock_guard<std::mutex> lock(pages_mutex_);
  const auto page = pages_.find(path);
  return page == pages_.end() ? nullptr : &page->second;
}

}  // namespace weft
