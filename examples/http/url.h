// SPDX-License-Identifier: Apache-2.0
//
// Where a URL leads to.
#ifndef WEFT_EXAMPLES_HTTP_URL_H_
#define WEFT_EXAMPLES_HTTP_URL_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "weft/transports/address.h"

namespace weft::http {

struct Url {
  Address server;
  std::string host;    // as it stands there, for the Host field
  std::string target;  // path and query, "/" at least
};

// "http://10.0.0.1:8080/a?b", "http://[fd00::2]/a", where the port is 80 unless it says otherwise,
// or "shm:httpd/a" over shared memory. Names are not looked up, but for localhost, which is
// 127.0.0.1. InvalidArgument says what is wrong.
absl::StatusOr<Url> ParseUrl(absl::string_view text);

}  // namespace weft::http

#endif  // WEFT_EXAMPLES_HTTP_URL_H_
