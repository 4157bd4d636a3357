// SPDX-License-Identifier: Apache-2.0
#include "weft/examples/http/url.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace weft::http {

absl::StatusOr<Url> ParseUrl(absl::string_view text) {
  absl::string_view rest = text;
  const bool http = absl::ConsumePrefix(&rest, "http://");
  if (!http && !absl::StartsWith(rest, "shm:")) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "' is no URL that this program knows: give http://HOST:PORT/PATH"));
  }
  const size_t end = std::min(rest.find_first_of("/?"), rest.size());
  Url url = {.server = {}, .host = std::string(rest.substr(0, end)), .target = {}};
  url.target = std::string(rest.substr(end, std::min(rest.find('#'), rest.size()) - end));
  if (!absl::StartsWith(url.target, "/")) url.target.insert(0, "/");
  std::string server = url.host;
  if (http) {
    if (absl::StartsWith(server, "localhost")) server.replace(0, 9, "127.0.0.1");
    const size_t behind_ip = server.find(']') == std::string::npos ? 0 : server.find(']');
    if (server.find(':', behind_ip) == std::string::npos) absl::StrAppend(&server, ":80");
  }
  absl::StatusOr<Address> address = Address::Parse(server);
  if (!address.ok()) return address.status();
  url.server = *address;
  return url;
}

}  // namespace weft::http
