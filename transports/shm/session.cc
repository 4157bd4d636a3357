// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/shm/session.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <bit>
#include <cerrno>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "weft/transports/address.h"
#include "weft/transports/shm/barrier.h"

namespace weft::shm {
namespace {

// With a descriptor unless that is negative.
bool SendMessage(int socket, const void* bytes, size_t size, int descriptor) {
  iovec data = {const_cast<void*>(bytes), size};
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (descriptor >= 0) {
    message.msg_control = space;
    message.msg_controllen = sizeof(space);
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(rights), &descriptor, sizeof(descriptor));
  }
  return sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == static_cast<ssize_t>(size);
}

// The first descriptor that came with `message`; any others are closed.
UniqueFd TakeDescriptor(msghdr* message) {
  UniqueFd first;
  for (cmsghdr* c = CMSG_FIRSTHDR(message); c != nullptr; c = CMSG_NXTHDR(message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
      UniqueFd owned(fd);
      if (!first) first = std::move(owned);
    }
  }
  return first;
}

// As recv(), with the descriptor that came along; `*flags` says what did not fit.
ssize_t ReceiveMessage(int socket, void* bytes, size_t size, UniqueFd* descriptor, int* flags) {
  iovec data = {bytes, size};
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int))];
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = space;
  message.msg_controllen = sizeof(space);
  const ssize_t got = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got >= 0) *descriptor = TakeDescriptor(&message);
  *flags = message.msg_flags;
  return got;
}

// 0, or the errno that says why no session can come of it.
int CheckHello(const Hello& hello, Contract contract, uint32_t ring_bytes_max) {
  if (hello.magic != Hello::kMagic) return EPROTO;
  if (hello.version != Hello::kVersion) return EPROTONOSUPPORT;
  if (hello.contract != contract || hello.name_size > kMaxNameBytes) return EPROTO;
  const absl::string_view name(hello.name, hello.name_size);
  if (!Address::Parse(absl::StrCat("shm:", name)).ok()) return EPROTO;
  if (!std::has_single_bit(hello.ring_bytes) || hello.ring_bytes < kMinRingBytes) return EPROTO;
  if (hello.ring_bytes > ring_bytes_max) return EMSGSIZE;
  return 0;
}

}  // namespace

uint8_t OwnFlags() { return BarrierRegistered() ? Hello::kIssuesBarrier : 0; }

bool SendNotice(int socket, const Notice& notice, int descriptor) {
  // A full buffer means that the other side has notices enough to look at; a closed one is found
  // out by reading.
  return SendMessage(socket, &notice, sizeof(notice), descriptor);
}

Received ReceiveNotice(int socket, Notice* notice) {
  ssize_t size = recv(socket, notice, sizeof(*notice), MSG_DONTWAIT | MSG_TRUNC);
  if (size < 0 && errno == ECONNRESET) {
    // The other side closed without having read everything, which the kernel tells before it
    // delivers what came earlier: a good-bye, perhaps.
    size = recv(socket, notice, sizeof(*notice), MSG_DONTWAIT | MSG_TRUNC);
  }
  if (size == sizeof(*notice)) return Received::kNotice;
  if (size > 0) return Received::kGarbage;
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return Received::kNothing;
  return Received::kEnd;
}

Received ReceiveNotice(int socket, Notice* notice, UniqueFd* descriptor) {
  int flags = 0;
  ssize_t size = ReceiveMessage(socket, notice, sizeof(*notice), descriptor, &flags);
  if (size < 0 && errno == ECONNRESET) {
    size = ReceiveMessage(socket, notice, sizeof(*notice), descriptor, &flags);
  }
  if (size == sizeof(*notice) && (flags & MSG_TRUNC) == 0) return Received::kNotice;
  if (size > 0) return Received::kGarbage;
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return Received::kNothing;
  return Received::kEnd;
}

void Session::Wake() const {
  // One notice for each time it went to sleep, however many bursts follow.
  if (memory.theirs().wake_on.exchange(0, std::memory_order_relaxed) != 0) {
    SendNotice(socket.get(), {.kind = Notice::Kind::kWake});
  }
}

absl::StatusOr<Session> Connect(const std::string& path, Contract contract,
                                const std::string& own_name, uint32_t ring_bytes) {
  sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
  if (path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, " is too long for the path of a Unix socket (", sizeof(address.sun_path) - 1,
        " bytes): use a shorter transport.shm.directory or name"));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);

  Session session;
  session.socket = UniqueFd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!session.socket) return absl::ErrnoToStatus(errno, "cannot make a Unix socket");
  if (connect(session.socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    switch (errno) {
      case ENOENT:
      case ECONNREFUSED:
        return absl::NotFoundError(absl::StrCat("nobody listens at ", path));
      case EAGAIN:
        return absl::UnavailableError(
            absl::StrCat("too many connections wait to be accepted at ", path, ": try again"));
      case EACCES:
      case EPERM:
        return absl::PermissionDeniedError(absl::StrCat(
            "no permission to write to ", path,
            ": the listener's transport.shm.mode and the directory's permissions decide who may"));
      default:
        return absl::ErrnoToStatus(errno, absl::StrCat("cannot connect to ", path));
    }
  }
  UniqueFd memfd;
  absl::StatusOr<SharedMemory> memory = SharedMemory::Create(ring_bytes, &memfd);
  if (!memory.ok()) return memory.status();
  session.memory = *std::move(memory);

  Hello hello = {.magic = Hello::kMagic,
                 .version = Hello::kVersion,
                 .contract = contract,
                 .flags = OwnFlags(),
                 .ring_bytes = ring_bytes,
                 .name_size = static_cast<uint8_t>(own_name.size()),
                 .name = {}};
  std::memcpy(hello.name, own_name.data(), own_name.size());
  if (!SendMessage(session.socket.get(), &hello, sizeof(hello), memfd.get())) {
    return absl::ErrnoToStatus(errno, "cannot send the handshake");
  }
  return session;
}

absl::StatusOr<Session> ReceiveHello(UniqueFd* socket, Contract contract, uint32_t ring_bytes_max,
                                     int* error) {
  Hello hello;
  UniqueFd memfd;
  int flags = 0;
  const ssize_t size = ReceiveMessage(socket->get(), &hello, sizeof(hello), &memfd, &flags);
  if (size < 0) {
    *error = errno == EINTR ? EAGAIN : errno;
    return absl::ErrnoToStatus(*error, "no handshake");
  }
  *error = EPROTO;
  if (size != sizeof(hello) || (flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || !memfd) {
    return absl::InvalidArgumentError("not a handshake");
  }
  *error = CheckHello(hello, contract, ring_bytes_max);
  if (*error != 0) return absl::ErrnoToStatus(*error, "handshake refused");

  absl::StatusOr<SharedMemory> memory = SharedMemory::Open(memfd, hello.ring_bytes);
  if (!memory.ok()) {
    *error = absl::IsInvalidArgument(memory.status()) ? EPROTO : ENOMEM;
    return memory.status();
  }
  ucred peer = {};
  socklen_t peer_size = sizeof(peer);
  getsockopt(socket->get(), SOL_SOCKET, SO_PEERCRED, &peer, &peer_size);

  Session session;
  session.socket = std::move(*socket);
  session.memory = *std::move(memory);
  session.peer_name.assign(hello.name, hello.name_size);
  session.trust_name = peer.uid == geteuid();
  session.needs_fence = !(hello.flags & OwnFlags() & Hello::kIssuesBarrier);
  return session;
}

}  // namespace weft::shm
