// SPDX-License-Identifier: Apache-2.0
//
// Any datagram is either refused or one that writes back as it was read, header and body.

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "weft/r2p2/extended_wire.h"

namespace {

using namespace weft::r2p2;

void Check(bool good) {
  if (!good) std::abort();
}

void Bodies(absl::Span<const uint8_t> body) {
  Hello hello;
  if (ReadHello(body, &hello)) {
    uint8_t written[kHelloBytes];
    WriteHello(hello, written);
    Check(std::memcmp(written, body.data(), kHelloBytes) == 0);
  }
  Progress progress;
  if (ReadProgress(body, &progress)) {
    uint8_t written[kProgressBytesMax];
    const size_t bytes = WriteProgress(progress, written);
    Check(bytes <= body.size() && std::memcmp(written, body.data(), bytes) == 0);
    size_t here = 0;
    for (size_t bit = 0; bit < Progress::kBitsMax + 8; ++bit) here += progress.has(bit);
    Check(here <= progress.bits);
  }
  Announcement announcement;
  if (ReadAnnouncement(body, &announcement)) {
    uint8_t written[kAnnouncementBytes];
    WriteAnnouncement(announcement, written);
    Check(announcement.bytes > 0);
    Check(std::memcmp(written, body.data(), kAnnouncementBytes) == 0);
  }
  if (const uint32_t features = ReadHelloFeatures(body); features != 0) {
    uint8_t written[kHelloFeaturesAt + kHelloFeaturesBytes];
    WriteHelloFeatures(features, written);
    Check(std::memcmp(written + kHelloFeaturesAt, &body[kHelloFeaturesAt], kHelloFeaturesBytes) ==
          0);
  }
  if (body.size() >= kDropBytes) {
    uint8_t written[kDropBytes];
    WriteDrop(ReadDrop(body), written);
    Check(std::memcmp(written, body.data(), kDropBytes) == 0);
  } else {
    Check(ReadDrop(body) == 0);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::Span<const uint8_t> datagram(data, size);
  ExtendedHeader header;
  if (!ReadExtendedHeader(datagram, &header)) {
    Bodies(datagram);
    return 0;
  }
  uint8_t written[kExtendedHeaderBytes];
  WriteExtendedHeader(header, written);
  Check(std::memcmp(written, data, kExtendedHeaderBytes) == 0);
  if (header.kind != ControlKind::kProgress) {
    Check(header.total() == 0 || header.index() < header.total());
  }
  if (header.kind == ControlKind::kAnnouncement) Check(header.total() > 1);
  Bodies(datagram.subspan(kExtendedHeaderBytes));
  return 0;
}
