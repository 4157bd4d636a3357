// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/dpdk/virtual_device.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "weft/core/unique_fd.h"

namespace weft::dpdk {
namespace {

enum class Found { kNothing, kFile, kStaleSocket, kLiveSocket };

Found Look(const std::string& path) {
  struct stat status;
  if (lstat(path.c_str(), &status) != 0) return Found::kNothing;
  if (!S_ISSOCK(status.st_mode)) return Found::kFile;
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return Found::kFile;
  std::memcpy(address.sun_path, path.data(), path.size());
  const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const bool refused =
      static_cast<bool>(socket) &&
      connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 &&
      errno == ECONNREFUSED;
  return refused ? Found::kStaleSocket : Found::kLiveSocket;
}

}  // namespace

absl::StatusOr<VirtualDevice> VirtualDevice::Parse(absl::string_view text) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(text, absl::MaxSplits(',', 1));
  if (parts.first.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "virtual device '", text, "' has no name; an example: 'net_tap0,iface=weft0'"));
  }
  return VirtualDevice{std::string(parts.first), std::string(parts.second)};
}

std::string VirtualDevice::Argument(absl::string_view key) const {
  for (absl::string_view argument : absl::StrSplit(arguments, ',')) {
    if (absl::ConsumePrefix(&argument, key) && absl::ConsumePrefix(&argument, "=")) {
      return std::string(argument);
    }
  }
  return "";
}

std::string VirtualDevice::ListeningSocket() const {
  if (absl::StrContains(name, "vhost")) return Argument("client") == "1" ? "" : Argument("iface");
  if (absl::StrContains(name, "virtio_user")) {
    return Argument("server") == "1" ? Argument("path") : "";
  }
  return "";
}

absl::Status VirtualDevice::ClearSocket() const {
  const std::string path = ListeningSocket();
  switch (path.empty() ? Found::kNothing : Look(path)) {
    case Found::kNothing:
      break;
    case Found::kStaleSocket:
      unlink(path.c_str());
      break;
    case Found::kFile:
      return absl::AlreadyExistsError(absl::StrCat(
          "device '", name, "': ", path, " is there and is no socket; choose another path"));
    case Found::kLiveSocket:
      return absl::AlreadyExistsError(absl::StrCat("device '", name,
                                                   "': another process uses the socket ", path,
                                                   "; stop it, or choose another path"));
  }
  return absl::OkStatus();
}

}  // namespace weft::dpdk
