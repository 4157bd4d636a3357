// SPDX-License-Identifier: Apache-2.0
//
// Files with pre-shared keys: text, read by people too.
//
//   # one key:               # keys of peers (as written by GnuTLS' psktool, too):
//   00112233...ff            reader:8f41...
//                            writer:99c0...
#ifndef WEFT_RPC_SECURITY_KEY_FILES_H_
#define WEFT_RPC_SECURITY_KEY_FILES_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace weft::rpc {

// A pre-shared key of 16 to 64 bytes, overwritten when it is dropped.
class PreSharedKey {
 public:
  static constexpr size_t kBytesMin = 16;
  static constexpr size_t kBytesMax = 64;

  // InvalidArgument, without the text itself in it, unless it is 32 to 128 hexadecimal digits.
  static absl::StatusOr<PreSharedKey> FromHex(absl::string_view text);

  PreSharedKey(const PreSharedKey&) = default;
  PreSharedKey& operator=(const PreSharedKey&) = default;
  ~PreSharedKey();

  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  explicit PreSharedKey(std::vector<uint8_t> bytes) : bytes_(std::move(bytes)) {}
  std::vector<uint8_t> bytes_;
};

using PreSharedKeys = absl::flat_hash_map<std::string, PreSharedKey>;

// Errors name the file: NotFound, PermissionDenied, InvalidArgument (with the line).
absl::StatusOr<std::string> ReadFile(const std::string& path);
absl::StatusOr<PreSharedKey> ReadKeyFile(const std::string& path);
absl::StatusOr<PreSharedKeys> ReadPeersFile(const std::string& path);

// What a file is recognised by: it changes when the file is replaced or written to.
std::string FileStamp(const std::string& path);

}  // namespace weft::rpc

#endif  // WEFT_RPC_SECURITY_KEY_FILES_H_
