// SPDX-License-Identifier: Apache-2.0
//
// The page at /status of a host: what a browser shows of a running program. One file without
// anything from elsewhere, made at build time of page.html, style.css and the scripts beside it
// (embed.py); each second it fetches /host, /rpc, /net and /metrics of the same server.
//
// Its Content-Security-Policy lets nothing run and nothing apply but the script and the style sheet
// that it was built with, by their hashes, and lets it talk to its own server only: what peers
// choose (names, addresses, identities) is text to it, twice over.
#ifndef WEFT_HOST_STATUS_PAGE_STATUS_PAGE_H_
#define WEFT_HOST_STATUS_PAGE_STATUS_PAGE_H_

#include "weft/host/http_server.h"

namespace weft {

// Any thread.
HttpResponse StatusPage();

// From / to /status.
HttpResponse RedirectToStatusPage();

}  // namespace weft

#endif  // WEFT_HOST_STATUS_PAGE_STATUS_PAGE_H_
