// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/shm/rendezvous.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace weft::shm {
namespace {

constexpr char kLockFile[] = "/.lock";
constexpr char kClientPrefix[] = "client-";

// One of these at a time looks at, removes and makes sockets in a directory. Held for microseconds.
UniqueFd LockDirectory(const std::string& lock_path) {
  UniqueFd lock(open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (lock) {
    while (flock(lock.get(), LOCK_EX) != 0 && errno == EINTR) {
    }
  }
  return lock;
}

absl::StatusOr<sockaddr_un> SocketAddress(const std::string& path) {
  sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
  if (path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, " is too long for the path of a Unix socket (at most ", sizeof(address.sun_path) - 1,
        " bytes): choose a shorter transport.shm.directory or name"));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

UniqueFd MakeSocket() {
  return UniqueFd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

// Whether `address` is a socket whose process is gone. The kernel closes a dead process's sockets,
// and a connection to what is left of one is refused.
bool IsStale(const sockaddr_un& address) {
  struct stat info;
  if (lstat(address.sun_path, &info) != 0 || !S_ISSOCK(info.st_mode)) return false;
  const UniqueFd probe = MakeSocket();
  return connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 &&
         errno == ECONNREFUSED;
}

}  // namespace

absl::StatusOr<Directory> Directory::FromConfig(const config::Shm& config) {
  Directory directory;
  uint32_t mode = 0;
  for (const char c : config.mode()) {
    if (c < '0' || c > '7' || mode > 0777 / 8) {
      return absl::InvalidArgumentError(
          absl::StrCat("transport.shm.mode is '", config.mode(), "': not an octal mode like 0600"));
    }
    mode = mode * 8 + static_cast<uint32_t>(c - '0');
  }
  directory.socket_mode_ = mode;
  if (config.has_directory() && !config.directory().empty()) {
    directory.path_ = config.directory();
    directory.is_default_ = false;
  } else if (const char* runtime = std::getenv("XDG_RUNTIME_DIR");
             runtime != nullptr && runtime[0] == '/') {
    directory.path_ = absl::StrCat(runtime, "/weft");
  } else {
    directory.path_ = absl::StrCat("/tmp/weft-", geteuid());
  }
  return directory;
}

std::string Directory::SocketPath(const std::string& name, Contract contract) const {
  absl::string_view kind;
  switch (contract) {
    case Contract::kDatagrams:
      kind = ".datagrams";
      break;
    case Contract::kStreams:
      kind = ".streams";
      break;
    case Contract::kMemory:
      kind = ".memory";
      break;
  }
  return absl::StrCat(path_, "/", name, kind);
}

absl::Status Directory::PrepareToListen() const {
  if (mkdir(path_.c_str(), 0700) != 0 && errno != EEXIST) {
    return absl::ErrnoToStatus(
        errno, absl::StrCat("cannot make the directory ", path_, " (transport.shm.directory)"));
  }
  struct stat info;
  if (lstat(path_.c_str(), &info) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot look at ", path_));
  }
  if (!S_ISDIR(info.st_mode)) {
    return absl::PermissionDeniedError(absl::StrCat(
        path_, " is not a directory: set transport.shm.directory to one that is yours"));
  }
  if (info.st_uid != geteuid()) {
    return absl::PermissionDeniedError(
        absl::StrCat("directory ", path_, " belongs to user ", info.st_uid, ", not to you (",
                     geteuid(), "): set transport.shm.directory to one that is yours"));
  }
  return CheckToConnect();
}

absl::Status Directory::CheckToConnect() const {
  struct stat info;
  if (stat(path_.c_str(), &info) != 0) return absl::OkStatus();
  if (is_default_ && info.st_uid != geteuid()) {
    return absl::PermissionDeniedError(absl::StrCat(
        "directory ", path_, " belongs to user ", info.st_uid,
        ", who need not be who you think: set transport.shm.directory if it is meant"));
  }
  if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return absl::PermissionDeniedError(
        absl::StrCat("others may write to directory ", path_,
                     " and put their sockets in the place of yours: chmod go-w ", path_));
  }
  return absl::OkStatus();
}

Listener::Listener(const Directory& directory, std::string name, Contract contract, int queues)
    : name_(std::move(name)),
      path_(directory.SocketPath(name_, contract)),
      lock_path_(directory.path() + kLockFile),
      peers_(static_cast<size_t>(queues), kNotInUse) {}

absl::StatusOr<std::shared_ptr<Listener>> Listener::Open(const Directory& directory,
                                                         const std::string& name, Contract contract,
                                                         int backlog, int queues) {
  if (absl::Status status = directory.PrepareToListen(); !status.ok()) return status;
  std::shared_ptr<Listener> listener(new Listener(directory, name, contract, queues));
  if (absl::Status status = listener->Bind(directory.socket_mode(), backlog); !status.ok()) {
    return status;
  }
  return listener;
}

absl::Status Listener::Bind(mode_t mode, int backlog) {
  absl::StatusOr<sockaddr_un> address = SocketAddress(path_);
  if (!address.ok()) return address.status();
  const UniqueFd lock = LockDirectory(lock_path_);
  if (!lock) return absl::ErrnoToStatus(errno, absl::StrCat("cannot lock ", lock_path_));
  socket_ = MakeSocket();
  if (!socket_) return absl::ErrnoToStatus(errno, "cannot make a Unix socket");

  const auto* where = reinterpret_cast<const sockaddr*>(&*address);
  int result = bind(socket_.get(), where, sizeof(*address));
  if (result != 0 && errno == EADDRINUSE && IsStale(*address)) {
    unlink(path_.c_str());
    result = bind(socket_.get(), where, sizeof(*address));
  }
  if (result != 0) {
    if (errno == EADDRINUSE || errno == ECONNREFUSED) {
      return absl::AlreadyExistsError(absl::StrCat("shm:", name_,
                                                   " is in use: a process listens at ", path_,
                                                   "; stop it or choose another name"));
    }
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot make ", path_));
  }
  struct stat info;
  if (lstat(path_.c_str(), &info) == 0) inode_ = info.st_ino;
  // Nobody can connect before listen(), so the mode is never wider than it should be.
  if (chmod(path_.c_str(), mode) != 0 || listen(socket_.get(), backlog) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot listen at ", path_));
  }
  return absl::OkStatus();
}

Listener::~Listener() {
  if (inode_ == 0) return;
  const UniqueFd lock = LockDirectory(lock_path_);
  struct stat info;
  if (lstat(path_.c_str(), &info) == 0 && info.st_ino == inode_) unlink(path_.c_str());
}

bool Listener::TakeQueue(int queue) {
  std::lock_guard lock(mutex_);
  int& peers = peers_[static_cast<size_t>(queue)];
  if (peers != kNotInUse) return false;
  peers = 0;
  return true;
}

void Listener::ReleaseQueue(int queue) {
  std::lock_guard lock(mutex_);
  peers_[static_cast<size_t>(queue)] = kNotInUse;
}

void Listener::AddPeers(int queue, int change) {
  std::lock_guard lock(mutex_);
  peers_[static_cast<size_t>(queue)] += change;
}

bool Listener::LeastLoaded(int queue) const {
  std::lock_guard lock(mutex_);
  const int mine = peers_[static_cast<size_t>(queue)];
  return std::none_of(peers_.begin(), peers_.end(),
                      [mine](int other) { return other != kNotInUse && other < mine; });
}

std::string MakeClientName() {
  uint64_t random = 0;
  // Cannot fail for so few bytes.
  [[maybe_unused]] ssize_t got = getrandom(&random, sizeof(random), 0);
  return absl::StrCat(kClientPrefix, getpid(), "-", absl::Hex(random, absl::kZeroPad16));
}

void RemoveStaleClientSockets(const Directory& directory) {
  constexpr int kMaxRemoved = 64;
  DIR* entries = opendir(directory.path().c_str());
  if (entries == nullptr) return;
  const UniqueFd lock = LockDirectory(directory.path() + kLockFile);
  int removed = 0;
  while (const dirent* entry = lock && removed < kMaxRemoved ? readdir(entries) : nullptr) {
    absl::string_view rest = entry->d_name;
    pid_t pid = 0;
    if (!absl::ConsumePrefix(&rest, kClientPrefix) ||
        !absl::SimpleAtoi(rest.substr(0, rest.find('-')), &pid) || pid <= 0) {
      continue;
    }
    // A process of another container may be alive though its number is unknown here: ask the
    // socket.
    if (kill(pid, 0) == 0 || errno != ESRCH) continue;
    const std::string path = absl::StrCat(directory.path(), "/", entry->d_name);
    if (absl::StatusOr<sockaddr_un> address = SocketAddress(path);
        address.ok() && IsStale(*address)) {
      unlink(path.c_str());
      ++removed;
    }
  }
  closedir(entries);
}

}  // namespace weft::shm
