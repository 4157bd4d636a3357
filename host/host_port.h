// SPDX-License-Identifier: Apache-2.0
#ifndef WEFT_HOST_HOST_PORT_H_
#define WEFT_HOST_HOST_PORT_H_

#include <string>

#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace weft {

struct HostPort {
  std::string host;
  std::string port;
};

// Splits "HOST:PORT", "[IPV6]:PORT" or "PORT", which is one of 127.0.0.1. Whether there are such a
// host and port is for the resolver to say.
inline HostPort SplitHostPort(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return {"127.0.0.1", text};
  absl::string_view host = absl::string_view(text).substr(0, colon);
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
  return {std::string(host), text.substr(colon + 1)};
}

}  // namespace weft

#endif  // WEFT_HOST_HOST_PORT_H_
