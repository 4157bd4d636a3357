// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/stream_port.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace weft {

absl::StatusOr<Address> StreamPort::LocalAddress(StreamId stream) const {
  if (absl::StatusOr<Address> peer = PeerAddress(stream); !peer.ok()) return peer.status();
  return local_address();
}

size_t StreamPort::Send(StreamId stream, size_t bytes, StreamWriter writer) {
  size_t sent = 0;
  while (sent < bytes) {
    const absl::Span<uint8_t> room = Reserve(stream, bytes - sent);
    if (room.empty()) break;
    const size_t written = std::min(writer(room), room.size());
    Commit(stream, written);
    sent += written;
    if (written < room.size()) break;
  }
  return sent;
}

bool StreamPort::SendBuffer(StreamId stream, Buffer* buffer) {
  const size_t bytes = buffer->size();
  const uint8_t* from = buffer->data();
  const size_t sent = Send(stream, bytes, [&from](absl::Span<uint8_t> room) {
    std::memcpy(room.data(), from, room.size());
    from += room.size();
    return room.size();
  });
  if (sent > 0) ++stats_.copied_buffers;
  stats_.copied_bytes += sent;
  if (sent < bytes) {
    buffer->TrimFront(sent);
    return false;
  }
  buffer->Reset();
  return true;
}

absl::Status StreamPort::SetOptions(StreamId stream, const StreamOptions& options) {
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  if (absl::StatusOr<Address> peer = PeerAddress(stream); !peer.ok()) return peer.status();
  const std::vector<absl::string_view> names = options.Names();
  if (names.empty()) return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat("streams of this transport have no ", absl::StrJoin(names, ", ")));
}

absl::StatusOr<StreamInfo> StreamPort::Info(StreamId stream) const {
  if (absl::StatusOr<Address> peer = PeerAddress(stream); !peer.ok()) return peer.status();
  return absl::UnimplementedError("streams of this transport tell nothing of their state");
}

}  // namespace weft
