// SPDX-License-Identifier: Apache-2.0
#include "weft/host/http_client.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "weft/core/clock.h"
#include "weft/core/unique_fd.h"
#include "weft/host/host_port.h"

namespace weft {
namespace {

constexpr size_t kReplyBytesMax = 64 << 20;

absl::Status NotHttp(const std::string& address) {
  return absl::DataLossError(absl::StrCat("what listens at ", address, " does not speak HTTP"));
}

// A socket, and the time by which all must be done.
struct Exchange {
  const std::string& address;
  UniqueFd fd;
  int64_t deadline_ns;

  absl::Status Wait(short events) const {
    pollfd polled = {.fd = fd.get(), .events = events, .revents = 0};
    while (true) {
      const int64_t left_ns = deadline_ns - MonotonicClock().NowNs();
      const int n =
          left_ns <= 0 ? 0 : poll(&polled, 1, static_cast<int>((left_ns + 999'999) / 1'000'000));
      if (n > 0) return absl::OkStatus();
      if (n == 0) {
        return absl::DeadlineExceededError(absl::StrCat(address, " does not answer in time"));
      }
      if (errno != EINTR) return absl::ErrnoToStatus(errno, "poll");
    }
  }
};

absl::Status Connect(Exchange* exchange) {
  const HostPort where = SplitHostPort(exchange->address);
  addrinfo hints = {};
  hints.ai_flags = AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(where.host.c_str(), where.port.c_str(), &hints, &found);
  if (error != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", exchange->address, "' is no address of a host: ", gai_strerror(error),
                     "; give its metrics.listen, \"HOST:PORT\", \"[IPV6]:PORT\" or \"PORT\""));
  }
  const absl::Cleanup free_found = [&found] { freeaddrinfo(found); };
  int cause = 0;
  for (const addrinfo* it = found; it != nullptr; it = it->ai_next) {
    exchange->fd = UniqueFd(socket(it->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (connect(exchange->fd.get(), it->ai_addr, it->ai_addrlen) == 0) return absl::OkStatus();
    cause = errno;
    if (cause == EINPROGRESS) {
      if (absl::Status status = exchange->Wait(POLLOUT); !status.ok()) return status;
      socklen_t length = sizeof(cause);
      getsockopt(exchange->fd.get(), SOL_SOCKET, SO_ERROR, &cause, &length);
      if (cause == 0) return absl::OkStatus();
    }
  }
  if (cause == ECONNREFUSED) {
    return absl::UnavailableError(absl::StrCat("nothing listens at ", exchange->address,
                                               "; is the host running, with metrics.listen?"));
  }
  return absl::UnavailableError(
      absl::StrCat("cannot connect to ", exchange->address, ": ", std::strerror(cause)));
}

// To "@NAME", which is in the abstract namespace (unix(7)).
absl::Status ConnectLocally(Exchange* exchange) {
  sockaddr_un name = {};
  name.sun_family = AF_UNIX;
  const std::string& address = exchange->address;
  if (address.size() < 2 || address[0] != '@' || address.size() > sizeof(name.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("'", address, "' is no \"@NAME\""));
  }
  std::memcpy(name.sun_path + 1, address.data() + 1, address.size() - 1);
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address.size());
  exchange->fd = UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (connect(exchange->fd.get(), reinterpret_cast<sockaddr*>(&name), length) == 0) {
    return absl::OkStatus();
  }
  return absl::UnavailableError(
      absl::StrCat("cannot connect to ", address, ": ", std::strerror(errno)));
}

absl::StatusOr<HttpReply> Parse(const std::string& address, const std::string& response) {
  const size_t line_end = response.find("\r\n");
  const size_t head_end = response.find("\r\n\r\n");
  HttpReply reply;
  // "HTTP/1.1 200 OK"
  if (head_end == std::string::npos || !absl::StartsWith(response, "HTTP/1.") || line_end < 12 ||
      !absl::SimpleAtoi(response.substr(9, 3), &reply.status)) {
    return NotHttp(address);
  }
  reply.body = response.substr(head_end + 4);
  return reply;
}

Exchange Begin(const std::string& address, absl::Duration timeout) {
  return {.address = address,
          .fd = UniqueFd(),
          .deadline_ns = MonotonicClock().NowNs() + absl::ToInt64Nanoseconds(timeout)};
}

// Of what is connected.
absl::StatusOr<HttpReply> Ask(const Exchange& exchange, const std::string& method_and_target,
                              const std::string& host) {
  const std::string& address = exchange.address;
  // A request is shorter than any socket's buffer. The server closes behind its answer.
  const std::string request =
      absl::StrCat(method_and_target, " HTTP/1.1\r\nHost: ", host, "\r\nConnection: close\r\n\r\n");
  if (send(exchange.fd.get(), request.data(), request.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request.size())) {
    return absl::UnavailableError(absl::StrCat(address, " takes no request"));
  }
  std::string response;
  char bytes[65536];
  while (true) {
    if (absl::Status status = exchange.Wait(POLLIN); !status.ok()) return status;
    const ssize_t n = recv(exchange.fd.get(), bytes, sizeof(bytes), 0);
    if (n == 0) return Parse(address, response);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
      return absl::UnavailableError(absl::StrCat(address, ": ", std::strerror(errno)));
    }
    if (n > 0) response.append(bytes, static_cast<size_t>(n));
    if (response.size() > kReplyBytesMax) return NotHttp(address);
  }
}

}  // namespace

absl::StatusOr<HttpReply> HttpGet(const std::string& address, const std::string& target,
                                  absl::Duration timeout) {
  Exchange exchange = Begin(address, timeout);
  if (absl::Status status = Connect(&exchange); !status.ok()) return status;
  return Ask(exchange, absl::StrCat("GET ", target), address);
}

absl::StatusOr<HttpReply> HttpPost(const std::string& address, const std::string& target,
                                   absl::Duration timeout) {
  Exchange exchange = Begin(address, timeout);
  if (absl::Status status = ConnectLocally(&exchange); !status.ok()) return status;
  return Ask(exchange, absl::StrCat("POST ", target), "localhost");
}

std::string HttpEncode(const std::string& text) {
  std::string encoded;
  for (const unsigned char c : text) {
    if (absl::ascii_isalnum(c) || absl::StrContains("-._~:", static_cast<char>(c))) {
      encoded.push_back(static_cast<char>(c));
    } else {
      absl::StrAppendFormat(&encoded, "%%%02X", c);
    }
  }
  return encoded;
}

}  // namespace weft
