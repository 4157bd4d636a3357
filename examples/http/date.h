// SPDX-License-Identifier: Apache-2.0
//
// Dates as HTTP writes them (RFC 9110 section 5.6.7).
#ifndef WEFT_EXAMPLES_HTTP_DATE_H_
#define WEFT_EXAMPLES_HTTP_DATE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace weft::http {

// "Sun, 06 Nov 1994 08:49:37 GMT"; `seconds` since 1970, up to the year 9999.
std::string FormatDate(int64_t seconds);

// The same in reverse; the two obsolete forms, "Sunday, 06-Nov-94 08:49:37 GMT" and "Sun Nov  6
// 08:49:37 1994", are understood too. Two digits of a year are of 1970 to 2069. No value for
// anything else.
std::optional<int64_t> ParseDate(absl::string_view text);

}  // namespace weft::http

#endif  // WEFT_EXAMPLES_HTTP_DATE_H_
