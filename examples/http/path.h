// SPDX-License-Identifier: Apache-2.0
//
// From the path of a URL to the name of a file below a root.
#ifndef WEFT_EXAMPLES_HTTP_PATH_H_
#define WEFT_EXAMPLES_HTTP_PATH_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace weft::http {

constexpr size_t kPathBytesMax = 4096;

// Makes "dir/file.txt" of "/dir/./x/../file%2Etxt": decodes percent-encoded bytes (RFC 3986 section
// 2.1), then removes dot segments (section 5.2.4) and empty ones. "" is the root itself; a slash at
// the end stays. Returns 0, or the status of the answer, and then `*name` is of no use:
//   400  not a path, a bad encoding, a zero byte, more than kPathBytesMax
//   403  it would leave the root
//   404  an encoded slash: no file has one in its name
int DecodePath(absl::string_view path, std::string* name);

// `name` as it stands in a URL: what is not unreserved (RFC 3986 section 2.3) or a slash encoded.
std::string EncodePath(absl::string_view name);

// The media type for a file of this name, "application/octet-stream" for an unknown one.
absl::string_view MediaType(absl::string_view name);

}  // namespace weft::http

#endif  // WEFT_EXAMPLES_HTTP_PATH_H_
