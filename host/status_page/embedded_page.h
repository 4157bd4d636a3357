// SPDX-License-Identifier: Apache-2.0
//
// What embed.py makes of page.html, style.css and the scripts.
#ifndef WEFT_HOST_STATUS_PAGE_EMBEDDED_PAGE_H_
#define WEFT_HOST_STATUS_PAGE_EMBEDDED_PAGE_H_

#include <cstddef>

namespace weft {

extern const char kStatusPageHtml[];
extern const size_t kStatusPageHtmlBytes;
// The value of its Content-Security-Policy.
extern const char kStatusPagePolicy[];

}  // namespace weft

#endif  // WEFT_HOST_STATUS_PAGE_EMBEDDED_PAGE_H_
