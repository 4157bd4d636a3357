// SPDX-License-Identifier: Apache-2.0
//
// Requests that depend on what the client knows already (RFC 9110 section 13).
#ifndef WEFT_EXAMPLES_HTTP_CONDITIONS_H_
#define WEFT_EXAMPLES_HTTP_CONDITIONS_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "weft/examples/http/request.h"

namespace weft::http {

// If-Match, If-Unmodified-Since, If-None-Match and If-Modified-Since of a GET or HEAD, in the order
// of section 13.2.2: 200 to send the file with `etag`, a strong one with its quotation marks, and
// `modified_s`; 304 or 412 else.
int CheckConditions(const RequestHead& head, absl::string_view etag, int64_t modified_s);

// Whether a range may be sent: there is no If-Range, or it has this file (section 13.1.5).
bool RangeApplies(const RequestHead& head, absl::string_view etag, int64_t modified_s);

}  // namespace weft::http

#endif  // WEFT_EXAMPLES_HTTP_CONDITIONS_H_
