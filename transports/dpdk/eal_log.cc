// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "weft/transports/dpdk/eal.h"
#include "weft/transports/dpdk/log_buffer.h"

namespace weft::dpdk {
namespace {

// What a phrase of DPDK's log, in lower case, means.
struct Known {
  const char* phrase;
  absl::StatusCode code;
  const char* advice;
};
constexpr Known kKnown[] = {
    {"address already in use", absl::StatusCode::kAlreadyExists,
     "another process uses the socket or device; stop it, or choose another path"},
    {"resource busy", absl::StatusCode::kAlreadyExists,
     "another process uses the device; stop it, or choose another device"},
    {"permission denied", absl::StatusCode::kPermissionDenied,
     "run it as root, or give this user access to the files it names"},
    {"operation not permitted", absl::StatusCode::kPermissionDenied,
     "run it as root or with the capabilities CAP_NET_ADMIN and CAP_NET_RAW"},
    {"connection refused", absl::StatusCode::kUnavailable,
     "nobody listens at the socket; start the other side first"},
    {"no such file or directory", absl::StatusCode::kNotFound,
     "what it names is not there: check the path, and start the other side first"},
    {"no such device", absl::StatusCode::kNotFound,
     "check the name of the interface it is made on"},
};

// The last line that sounds like the cause.
std::string Cause(const std::string& log) {
  std::string cause;
  for (const absl::string_view line : absl::StrSplit(log, '\n', absl::SkipWhitespace())) {
    cause = std::string(absl::StripAsciiWhitespace(line));
    const std::string lower = absl::AsciiStrToLower(cause);
    for (const Known& known : kKnown) {
      if (absl::StrContains(lower, known.phrase)) return cause;
    }
  }
  return cause;
}

absl::StatusCode CodeOf(int error) {
  switch (error) {
    case EEXIST:
    case EBUSY:
    case EADDRINUSE:
      return absl::StatusCode::kAlreadyExists;
    case EACCES:
    case EPERM:
      return absl::StatusCode::kPermissionDenied;
    case ENOMEM:
    case ENOSPC:
      return absl::StatusCode::kResourceExhausted;
    case EINVAL:
      return absl::StatusCode::kInvalidArgument;
    case ENODEV:
    case ENOENT:
      return absl::StatusCode::kNotFound;
    default:
      return absl::StatusCode::kUnavailable;
  }
}

}  // namespace

EalLog::EalLog() : begin_(LogBuffer::Get().end()) {}

std::string EalLog::text() const { return LogBuffer::Get().Since(begin_); }

absl::Status EalLog::Explain(absl::string_view what, int error) const {
  const std::string cause = Cause(text());
  const std::string lower = absl::AsciiStrToLower(cause);
  for (const Known& known : kKnown) {
    if (absl::StrContains(lower, known.phrase)) {
      return absl::Status(known.code, absl::StrCat(what, ": ", known.advice, " (", cause, ")"));
    }
  }
  const std::string reason = error == 0 ? "DPDK refused" : std::strerror(error);
  return absl::Status(CodeOf(error), absl::StrCat(what, ": ", reason, cause.empty() ? "" : " (",
                                                  cause, cause.empty() ? "" : ")"));
}

}  // namespace weft::dpdk
