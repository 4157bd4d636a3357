// SPDX-License-Identifier: Apache-2.0
#include "weft/host/status_page/status_page.h"

#include "weft/host/status_page/embedded_page.h"

namespace weft {

HttpResponse StatusPage() {
  return {.content_type = "text/html; charset=utf-8",
          .body = std::string(kStatusPageHtml, kStatusPageHtmlBytes),
          .headers = {{"Content-Security-Policy", kStatusPagePolicy},
                      {"Cross-Origin-Resource-Policy", "same-origin"},
                      {"Referrer-Policy", "no-referrer"},
                      {"X-Content-Type-Options", "nosniff"}}};
}

HttpResponse RedirectToStatusPage() {
  return {.status = 302, .body = "see /status\n", .headers = {{"Location", "/status"}}};
}

}  // namespace weft
