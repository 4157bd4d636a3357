// SPDX-License-Identifier: Apache-2.0
//
// The reason phrases that servers here send beside status codes (RFC 9110, 15).
#ifndef WEFT_HOST_HTTP_STATUS_H_
#define WEFT_HOST_HTTP_STATUS_H_

#include "absl/strings/string_view.h"

namespace weft {

// Empty for a code that none of them sends: a phrase is not needed (RFC 9112, 4).
constexpr absl::string_view ReasonPhrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 206:
      return "Partial Content";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 411:
      return "Length Required";
    case 412:
      return "Precondition Failed";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 416:
      return "Range Not Satisfiable";
    case 417:
      return "Expectation Failed";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "";
  }
}

}  // namespace weft

#endif  // WEFT_HOST_HTTP_STATUS_H_
