// SPDX-License-Identifier: Apache-2.0
#include "weft/examples/http/path.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace weft::http {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = absl::ascii_tolower(static_cast<unsigned char>(c));
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// Sorted by extension.
constexpr std::pair<absl::string_view, absl::string_view> kTypes[] = {
    {"avif", "image/avif"},
    {"bin", "application/octet-stream"},
    {"bmp", "image/bmp"},
    {"css", "text/css; charset=utf-8"},
    {"csv", "text/csv; charset=utf-8"},
    {"gif", "image/gif"},
    {"gz", "application/gzip"},
    {"htm", "text/html; charset=utf-8"},
    {"html", "text/html; charset=utf-8"},
    {"ico", "image/vnd.microsoft.icon"},
    {"jpeg", "image/jpeg"},
    {"jpg", "image/jpeg"},
    {"js", "text/javascript; charset=utf-8"},
    {"json", "application/json"},
    {"md", "text/markdown; charset=utf-8"},
    {"mjs", "text/javascript; charset=utf-8"},
    {"mp3", "audio/mpeg"},
    {"mp4", "video/mp4"},
    {"otf", "font/otf"},
    {"pdf", "application/pdf"},
    {"png", "image/png"},
    {"svg", "image/svg+xml"},
    {"tar", "application/x-tar"},
    {"ttf", "font/ttf"},
    {"txt", "text/plain; charset=utf-8"},
    {"wasm", "application/wasm"},
    {"wav", "audio/wav"},
    {"webm", "video/webm"},
    {"webp", "image/webp"},
    {"woff", "font/woff"},
    {"woff2", "font/woff2"},
    {"xml", "application/xml"},
    {"zip", "application/zip"},
};

// Percent-encoded bytes as they are.
int Decode(absl::string_view path, std::string* decoded) {
  while (!path.empty()) {
    const size_t plain = std::min(path.find('%'), path.size());
    decoded->append(path.data(), plain);
    path.remove_prefix(plain);
    if (path.empty()) break;
    if (path.size() < 3) return 400;
    const int high = HexDigit(path[1]);
    const int low = HexDigit(path[2]);
    if (high < 0 || low < 0 || (high == 0 && low == 0)) return 400;
    const char c = static_cast<char>(high << 4 | low);
    if (c == '/') return 404;
    decoded->push_back(c);
    path.remove_prefix(3);
  }
  return decoded->find('\0') == std::string::npos ? 0 : 400;
}

// Takes dot segments and empty ones out of `*name`, which begins with a slash, and that slash. In
// place: what is kept never lies behind where it was. False if it would lead above its beginning.
bool Normalize(std::string* name) {
  size_t end = 0;  // of what is kept: segments, each with a slash behind it
  bool is_directory = true;
  for (size_t at = 0; at < name->size();) {
    const size_t begin = at + 1;  // behind the slash
    at = std::min(name->find('/', begin), name->size());
    const absl::string_view segment = absl::string_view(*name).substr(begin, at - begin);
    is_directory = segment.empty() || segment == "." || segment == "..";
    if (segment == "..") {
      if (end == 0) return false;
      const size_t slash = end < 2 ? std::string::npos : name->rfind('/', end - 2);
      end = slash == std::string::npos ? 0 : slash + 1;
    } else if (!is_directory) {
      std::memmove(name->data() + end, segment.data(), segment.size());
      end += segment.size();
      (*name)[end++] = '/';  // where a slash was read already, or the end
    }
  }
  name->resize(is_directory ? end : end - 1);
  return true;
}

}  // namespace

int DecodePath(absl::string_view path, std::string* name) {
  name->clear();
  if (path.empty() || path.front() != '/' || path.size() > kPathBytesMax) return 400;
  if (const int status = Decode(path, name); status != 0) return status;
  return Normalize(name) ? 0 : 403;
}

absl::string_view MediaType(absl::string_view name) {
  constexpr absl::string_view kUnknown = "application/octet-stream";
  const size_t dot = name.find_last_of("./");
  if (dot == absl::string_view::npos || name[dot] == '/') return kUnknown;
  const std::string extension = absl::AsciiStrToLower(name.substr(dot + 1));
  const auto it = std::lower_bound(
      std::begin(kTypes), std::end(kTypes), extension,
      [](const auto& type, absl::string_view wanted) { return type.first < wanted; });
  return it != std::end(kTypes) && it->first == extension ? it->second : kUnknown;
}

std::string EncodePath(absl::string_view name) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (absl::ascii_isalnum(byte) || absl::StrContains("-._~/", c)) {
      encoded.push_back(c);
    } else {
      encoded.append({'%', kDigits[byte >> 4], kDigits[byte & 15]});
    }
  }
  return encoded;
}

}  // namespace weft::http
