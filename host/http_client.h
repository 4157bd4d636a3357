// SPDX-License-Identifier: Apache-2.0
//
// One request to the HTTP server of a weft host (http_server.h), for programs that look at it.
//
//   absl::StatusOr<HttpReply> reply = HttpGet("127.0.0.1:9100", "/net");
//   if (reply.ok() && reply->status == 200) std::cout << reply->body;
#ifndef WEFT_HOST_HTTP_CLIENT_H_
#define WEFT_HOST_HTTP_CLIENT_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace weft {

struct HttpReply {
  int status = 0;
  std::string body;
};

// `address`: "HOST:PORT", "[IPV6]:PORT" or "PORT" of 127.0.0.1. `target`: path and query, encoded.
// Waits for the whole answer. InvalidArgument for an address that is none, Unavailable where nobody
// answers, DeadlineExceeded after `timeout`, DataLoss for what is not HTTP or has more than 64 MiB.
absl::StatusOr<HttpReply> HttpGet(const std::string& address, const std::string& target,
                                  absl::Duration timeout = absl::Seconds(10));

// One POST request without a body to what HttpServer::StartLocal() serves at `address`, "@NAME".
absl::StatusOr<HttpReply> HttpPost(const std::string& address, const std::string& target,
                                   absl::Duration timeout = absl::Seconds(10));

// Bytes that have a meaning in a query percent-encoded (RFC 3986 section 2.1).
std::string HttpEncode(const std::string& text);

}  // namespace weft

#endif  // WEFT_HOST_HTTP_CLIENT_H_
