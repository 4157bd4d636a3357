// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/service/trailer.h"

#include <algorithm>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"

namespace weft::rpc {
namespace {

constexpr size_t kFieldBytesMax = 6;  // tag and length of a field below 2^28 bytes

}  // namespace

bool FillTrailer(const absl::Status& status, const Metadata* metadata, size_t bytes_max,
                 wire::Trailer* trailer) {
  trailer->Clear();
  trailer->mutable_message()->assign(status.message().data(), status.message().size());
  status.ForEachPayload([&](absl::string_view type_url, const absl::Cord& value) {
    wire::Trailer::Detail& detail = *trailer->add_details();
    detail.mutable_type_url()->assign(type_url.data(), type_url.size());
    absl::CopyCordToString(value, detail.mutable_value());
  });
  if (metadata != nullptr && !metadata->empty()) {
    trailer->mutable_metadata()->CopyFrom(metadata->proto());
  }
  if (trailer->ByteSizeLong() <= bytes_max) [[likely]]
    return true;
  trailer->clear_details();
  if (trailer->ByteSizeLong() <= bytes_max) return false;
  trailer->clear_metadata();
  if (trailer->ByteSizeLong() <= bytes_max) return false;
  const size_t message_max = bytes_max - std::min(bytes_max, kFieldBytesMax);
  trailer->mutable_message()->resize(std::min(trailer->message().size(), message_max));
  if (bytes_max <= kFieldBytesMax) trailer->Clear();
  return false;
}

absl::Status StatusOf(absl::StatusCode code, const wire::Trailer& trailer) {
  if (code == absl::StatusCode::kOk) return absl::OkStatus();
  absl::Status status(code, trailer.message());
  for (const wire::Trailer::Detail& detail : trailer.details()) {
    status.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  }
  return status;
}

}  // namespace weft::rpc
