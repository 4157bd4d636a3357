// SPDX-License-Identifier: Apache-2.0
//
// Any bytes are either refused or, in each of the formats of routers, written back as they were
// read.

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "weft/r2p2/route_wire.h"

namespace {

using namespace weft::r2p2;

void Check(bool good) {
  if (!good) std::abort();
}

void Route(absl::Span<const uint8_t> bytes) {
  weft::Address client;
  const size_t size = ReadRoute(bytes, &client);
  if (size == 0) return;
  Check(size <= kRouteBytesMax && size + kHeaderBytes <= bytes.size());
  Check(size == RouteBytes(client));
  uint8_t written[kRouteBytesMax];
  WriteRoute(client, bytes, written);
  Check(std::memcmp(written, bytes.data(), size) == 0);
}

void AnycastRequest(absl::Span<const uint8_t> bytes) {
  ExtendedHeader header;
  Anycast anycast;
  if (!ReadAnycast(bytes, &header, &anycast)) return;
  uint8_t written[kAnycastHeaderBytes];
  WriteAnycast(header, anycast, written);
  Check(std::memcmp(written, bytes.data(), sizeof(written)) == 0);
}

void Batch(absl::Span<const uint8_t> bytes) {
  FeedbackBatch batch;
  if (!ReadFeedbackBatch(bytes, &batch)) return;
  Check(batch.count >= 1 && batch.count <= kFeedbackEntriesMax);
  for (size_t i = 0; i < batch.count; ++i) {
    uint8_t written[kFeedbackEntryBytes];
    WriteFeedbackEntry(ReadFeedbackEntry(bytes, i), written);
    Check(std::memcmp(written, bytes.data() + kFeedbackBatchHeaderBytes + i * sizeof(written),
                      sizeof(written)) == 0);
  }
}

void Bodies(absl::Span<const uint8_t> bytes) {
  Membership membership;
  if (ReadMembership(bytes, &membership)) {
    uint8_t written[kMembershipBytesMax];
    const size_t size = WriteMembership(membership, written);
    Check(size <= bytes.size() && std::memcmp(written, bytes.data(), size) == 0);
  }
  MembershipAck ack;
  if (ReadMembershipAck(bytes, &ack)) {
    uint8_t written[kMembershipAckBytes];
    WriteMembershipAck(ack, written);
    Check(std::memcmp(written, bytes.data(), sizeof(written)) == 0);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::Span<const uint8_t> bytes(data, size);
  Route(bytes);
  AnycastRequest(bytes);
  Batch(bytes);
  Bodies(bytes);
  return 0;
}
