// SPDX-License-Identifier: Apache-2.0
//
// The bytes of docs/protocols/rdma.md. wire_fuzz_test has what they are not.
#include "weft/transports/rdma/rendezvous_wire.h"

#include <optional>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "weft/transports/address.h"

namespace weft::rdma {
namespace {

std::string BytesOf(const RendezvousMessage& message) {
  uint8_t bytes[RendezvousMessage::kMaxBytes];
  const size_t size = WriteRendezvous(message, absl::MakeSpan(bytes));
  return std::string(reinterpret_cast<const char*>(bytes), size);
}

std::optional<RendezvousMessage> Parsed(const std::string& bytes) {
  return ParseRendezvous({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()},
                         Address::Ipv4({10, 0, 0, 1}, 8000));
}

TEST(RendezvousWireTest, AQuestionForAConnection) {
  RendezvousMessage ask = {.kind = RendezvousMessage::Kind::kAsk, .id = 0x0102030405060708};
  ask.offer.service = Offer::Service::kMemory;
  ask.offer.worker = 9;
  ask.offer.incarnation = 0x1112131415161718;
  ask.offer.queue.gid.bytes = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 77, 0, 1};
  ask.offer.queue.lid = 0x2122;
  ask.offer.queue.path_mtu_bytes = 4096;
  ask.offer.queue.qpn = 0x313233;
  ask.offer.queue.psn = 0x414243;
  ask.offer.queue.reads_in_flight = 16;
  ask.offer.peer_number = 0x51525354;
  const std::string bytes = BytesOf(ask);
  EXPECT_EQ(absl::BytesToHexString(bytes),
            "57524456"                          // magic
            "02010209"                          // version, ask, memory, worker
            "0102030405060708"                  // id
            "1112131415161718"                  // incarnation
            "00000000000000000000ffff0a4d0001"  // GID
            "2122100000313233"                  // LID, path MTU, QPN
            "0000000010414243"                  // queue key; reads, PSN
            "000051525354"                      // datagram bytes, number
            "000000000000000000"                // edge, sequence, resumes
            "00");                              // reached where it came from
  const std::optional<RendezvousMessage> parsed = Parsed(bytes);
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->offer.queue, ask.offer.queue);
  EXPECT_EQ(BytesOf(*parsed), bytes);
  EXPECT_FALSE(Parsed(bytes + "x").has_value());
  EXPECT_FALSE(Parsed(bytes.substr(0, bytes.size() - 1)).has_value());
}

TEST(RendezvousWireTest, ARefusalIsCutToWhatItMayHave) {
  RendezvousMessage refusal = {.kind = RendezvousMessage::Kind::kRefuse, .id = 7};
  refusal.offer.incarnation = 1;
  refusal.code = 8;
  refusal.reason = std::string(1000, 'r');
  const std::optional<RendezvousMessage> parsed = Parsed(BytesOf(refusal));
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->code, 8);
  EXPECT_EQ(parsed->reason, std::string(RendezvousMessage::kMaxReasonBytes, 'r'));
}

}  // namespace
}  // namespace weft::rdma
