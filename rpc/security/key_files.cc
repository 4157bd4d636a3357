// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/security/key_files.h"

#include <openssl/crypto.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace weft::rpc {
namespace {

constexpr size_t kFileBytesMax = size_t{16} << 20;
constexpr size_t kIdentityBytesMax = 128;

absl::Status FileError(int error, const std::string& path) {
  const std::string text = absl::StrCat(path, ": ", std::strerror(error));
  if (error == ENOENT || error == ENOTDIR) return absl::NotFoundError(text);
  if (error == EACCES || error == EPERM) return absl::PermissionDeniedError(text);
  return absl::InvalidArgumentError(text);
}

// A line without its comment and what is blank around it.
absl::string_view Content(absl::string_view line) {
  return absl::StripAsciiWhitespace(line.substr(0, line.find('#')));
}

absl::Status LineError(const std::string& path, size_t line, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ":", line, ": ", what));
}

// Overwrites what was read of a file that holds keys.
class Cleansed {
 public:
  explicit Cleansed(std::string text) : text_(std::move(text)) {}
  ~Cleansed() { OPENSSL_cleanse(text_.data(), text_.size()); }
  Cleansed(const Cleansed&) = delete;
  absl::string_view text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace

absl::StatusOr<PreSharedKey> PreSharedKey::FromHex(absl::string_view text) {
  const bool digits = std::all_of(text.begin(), text.end(), absl::ascii_isxdigit);
  if (!digits || text.size() % 2 != 0 || text.size() < 2 * kBytesMin ||
      text.size() > 2 * kBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a key is ", 2 * kBytesMin, " to ", 2 * kBytesMax,
        " hexadecimal digits, an even number, as from `openssl rand -hex 32`; this is ",
        digits ? "of another length" : "something else"));
  }
  Cleansed bytes(absl::HexStringToBytes(text));
  return PreSharedKey(std::vector<uint8_t>(bytes.text().begin(), bytes.text().end()));
}

PreSharedKey::~PreSharedKey() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return FileError(errno, path);
  if (S_ISDIR(info.st_mode)) return FileError(EISDIR, path);
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return FileError(errno == 0 ? EIO : errno, path);
  std::string text;
  text.resize(std::min(static_cast<size_t>(std::max<off_t>(info.st_size, 0)), kFileBytesMax + 1));
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kFileBytesMax) return FileError(EFBIG, path);
  return text;
}

absl::StatusOr<PreSharedKey> ReadKeyFile(const std::string& path) {
  absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return text.status();
  const Cleansed cleansed(*std::move(text));
  std::optional<PreSharedKey> key;
  size_t number = 0;
  for (absl::string_view line : absl::StrSplit(cleansed.text(), '\n')) {
    ++number;
    line = Content(line);
    if (line.empty()) continue;
    if (key.has_value()) return LineError(path, number, "a second key; there must be one");
    absl::StatusOr<PreSharedKey> read = PreSharedKey::FromHex(line);
    if (!read.ok()) return LineError(path, number, read.status().message());
    key = *std::move(read);
  }
  if (!key.has_value()) return absl::InvalidArgumentError(absl::StrCat(path, ": holds no key"));
  return *std::move(key);
}

absl::StatusOr<PreSharedKeys> ReadPeersFile(const std::string& path) {
  absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return text.status();
  const Cleansed cleansed(*std::move(text));
  PreSharedKeys keys;
  size_t number = 0;
  for (absl::string_view line : absl::StrSplit(cleansed.text(), '\n')) {
    ++number;
    line = Content(line);
    if (line.empty()) continue;
    const size_t colon = line.find(':');
    if (colon == 0 || colon == absl::string_view::npos || colon > kIdentityBytesMax) {
      return LineError(path, number, "give IDENTITY:HEX, with an identity of 1 to 128 bytes");
    }
    const absl::string_view identity = line.substr(0, colon);
    absl::StatusOr<PreSharedKey> key = PreSharedKey::FromHex(line.substr(colon + 1));
    if (!key.ok()) return LineError(path, number, key.status().message());
    if (!keys.emplace(identity, *std::move(key)).second) {
      return LineError(path, number,
                       absl::StrCat("'", absl::CHexEscape(identity), "' is there twice"));
    }
  }
  return keys;
}

std::string FileStamp(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return absl::StrCat("error ", errno);
  return absl::StrCat(info.st_dev, ":", info.st_ino, ":", info.st_size, ":", info.st_mtim.tv_sec,
                      ".", info.st_mtim.tv_nsec, ":", info.st_ctim.tv_sec, ".",
                      info.st_ctim.tv_nsec);
}

}  // namespace weft::rpc
