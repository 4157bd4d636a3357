// SPDX-License-Identifier: Apache-2.0
//
// The formats of docs/protocols/router.md, byte for byte.
#include "weft/r2p2/route_wire.h"

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_replace.h"
#include "gtest/gtest.h"

namespace weft::r2p2 {
namespace {

std::vector<uint8_t> Bytes(absl::string_view hex) {
  const std::string bytes = absl::HexStringToBytes(absl::StrReplaceAll(hex, {{" ", ""}}));
  return {bytes.begin(), bytes.end()};
}

const Address kV4 = Address::Ipv4({10, 0, 0, 2}, 33000);
const Address kV6 = Address::Ipv6({0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 7);

// --- Names

TEST(NamesTest, AreFixed) {
  // Routers and servers of any version and byte order must agree.
  EXPECT_EQ(internal::Mix(1), 0xb456bcfc34c2cb2c);
  EXPECT_EQ(RequestKey(0, 0, 1), 0xb456bcfc34c2cb2c);
  EXPECT_EQ(RequestKey(0, 2, 3), internal::Mix(0x20003));
  EXPECT_NE(RequestKey(1, 0, 1), RequestKey(2, 0, 1));
  EXPECT_NE(RequestKey(1, 0, 1), RequestKey(1, 1, 1));
}

TEST(NamesTest, DifferByEachPartOfAnAddress) {
  EXPECT_NE(ClientIdOf(kV4), ClientIdOf(Address::Ipv4({10, 0, 0, 2}, 33001)));
  EXPECT_NE(ClientIdOf(kV4), ClientIdOf(Address::Ipv4({10, 0, 0, 3}, 33000)));
  EXPECT_NE(ClientIdOf(kV6), ClientIdOf(kV4));
  EXPECT_NE(ClientIdOf(Address::Shm("a")), ClientIdOf(Address::Sim("a")));
  EXPECT_NE(ClientIdOf(Address::Shm("a")), ClientIdOf(Address::Shm("b")));
}

// --- The address in front

TEST(RouteTest, IsWrittenInFrontOfTheDatagram) {
  const std::vector<uint8_t> datagram = Bytes("cc08 00c0 0001 0001 31323334");
  std::vector<uint8_t> routed(RouteBytes(kV4));
  WriteRoute(kV4, datagram, routed.data());
  EXPECT_EQ(routed, Bytes("cc10 00c8 0001 0001  04 00 80e8 0a000002"));
  routed.insert(routed.end(), datagram.begin(), datagram.end());
  Address client;
  ASSERT_EQ(ReadRoute(routed, &client), 16u);
  EXPECT_EQ(client, kV4);
}

TEST(RouteTest, OfEachKindOfAddress) {
  const std::vector<uint8_t> datagram = Bytes("cc08 00c0 0001 0001");
  const struct {
    Address address;
    const char* bytes;
  } cases[] = {
      {kV6, "cc1c 00c8 0001 0001  06 00 0007 fd000000000000000000000000000001"},
      {Address::Shm("abc"), "cc0f 00c8 0001 0001  73 03 0000 616263"},
      {Address::Sim("abc"), "cc0f 00c8 0001 0001  6d 03 0000 616263"},
      {Address::Shm(std::string(64, 'x')), nullptr},
  };
  for (const auto& c : cases) {
    std::vector<uint8_t> routed(RouteBytes(c.address));
    ASSERT_LE(routed.size(), kRouteBytesMax);
    WriteRoute(c.address, datagram, routed.data());
    if (c.bytes != nullptr) {
      EXPECT_EQ(routed, Bytes(c.bytes));
    }
    const size_t bytes = routed.size();
    routed.insert(routed.end(), datagram.begin(), datagram.end());
    EXPECT_TRUE(IsRouted(routed));
    Address client;
    EXPECT_EQ(ReadRoute(routed, &client), bytes);
    EXPECT_EQ(client, c.address);
  }
}

TEST(RouteTest, RefusesWhatNoRouterWrites) {
  const char* const bad[] = {
      "cc10 00c0 0001 0001  04 00 80e8 0a000002  cc08 00c0 0001 0001",    // not the flag
      "cc10 00c8 0001 0001  04 00 80e8 0a000002  cc08 00c0 0001 00",      // cut off
      "cc0f 00c8 0001 0001  04 00 80e8 0a000002  cc08 00c0 0001 0001",    // too short for IPv4
      "cc11 00c8 0001 0001  04 00 80e8 0a00000200  cc08 00c0 0001 0001",  // too long
      "cc10 00c8 0001 0001  04 00 0000 0a000002  cc08 00c0 0001 0001",    // port 0
      "cc10 00c8 0001 0001  05 00 80e8 0a000002  cc08 00c0 0001 0001",    // unknown kind
      "cc0c 00c8 0001 0001  00 00 0000  cc08 00c0 0001 0001",             // nobody
      "cc0f 00c8 0001 0001  73 04 0000 616263  cc08 00c0 0001 0001",      // longer than it is
      "cc0f 00c8 0001 0001  73 03 0000 612063  cc08 00c0 0001 0001",      // no name
      "cc0f 00c8 0001 0001  73 03 0001 616263  cc08 00c0 0001 0001",      // names have no ports
      "cc10 00c8 0001",
  };
  for (const char* bytes : bad) {
    Address client;
    EXPECT_EQ(ReadRoute(Bytes(bytes), &client), 0u) << bytes;
  }
}

// --- Requests for any server

constexpr char kAnycastBytes[] =
    "cc40 00e0 0203 0001 00000000 00000009 00000000 000f4240 0000000000010203 ffffffff 00000000"
    "0020 00 00  1112131415161718 2122232425262728 000003e8";

TEST(AnycastTest, HasItsFieldsBehindTheExtendedHeader) {
  const ExtendedHeader header = {.policy = Policy::kLbRoute,
                                 .first = true,
                                 .last = true,
                                 .resent = true,
                                 .from_session = 9,
                                 .deadline_us = 1'000'000,
                                 .request_id = 0x10203,
                                 .timestamp = 0xffffffff,
                                 .credits = 32};
  std::vector<uint8_t> bytes(kAnycastHeaderBytes);
  WriteAnycast(header, {0x1112131415161718, 0x2122232425262728, 1000}, bytes.data());
  EXPECT_EQ(bytes, Bytes(kAnycastBytes));
  ExtendedHeader read;
  Anycast anycast;
  ASSERT_TRUE(ReadAnycast(bytes, &read, &anycast));
  EXPECT_EQ(read, header);
  EXPECT_EQ(anycast.incarnation, 0x1112131415161718u);
  EXPECT_EQ(anycast.affinity, 0x2122232425262728u);
  EXPECT_EQ(anycast.age_us, 1000u);
  EXPECT_FALSE(IsExtended(bytes)) << "who does not know it drops it";
}

TEST(AnycastTest, RefusesWhatNoClientSends) {
  const std::vector<uint8_t> good = Bytes(kAnycastBytes);
  const auto changed = [&good](size_t offset, uint8_t value) {
    std::vector<uint8_t> bytes = good;
    bytes[offset] = value;
    return bytes;
  };
  ExtendedHeader header;
  Anycast anycast;
  ASSERT_TRUE(ReadAnycast(good, &header, &anycast));
  EXPECT_FALSE(ReadAnycast(absl::MakeSpan(good).first(63), &header, &anycast));
  EXPECT_FALSE(ReadAnycast(changed(0, 0), &header, &anycast));
  EXPECT_FALSE(ReadAnycast(changed(1, 44), &header, &anycast));
  EXPECT_FALSE(ReadAnycast(changed(2, 0x11), &header, &anycast)) << "a RESPONSE";
  EXPECT_FALSE(ReadAnycast(changed(3, 0x40), &header, &anycast)) << "not the first packet";
  EXPECT_FALSE(ReadAnycast(changed(8, 1), &header, &anycast)) << "a session";
  EXPECT_FALSE(ReadAnycast(changed(15, 0), &header, &anycast)) << "no pool";
  EXPECT_FALSE(ReadAnycast(changed(16, 1), &header, &anycast)) << "a key";
  EXPECT_FALSE(ReadAnycast(changed(29, 0), &header, &anycast)) << "sequence 0";
}

// --- FEEDBACK

TEST(FeedbackBatchTest, IsAHeaderAndEntries) {
  std::vector<uint8_t> bytes(kFeedbackBatchHeaderBytes + 2 * kFeedbackEntryBytes);
  WriteFeedbackBatch({.incarnation = 0x1112131415161718, .first = 0x0102, .count = 2},
                     bytes.data());
  const FeedbackEntry entries[] = {{0x2122232425262728, 5000}, {1, UINT32_MAX}};
  WriteFeedbackEntry(entries[0], &bytes[24]);
  WriteFeedbackEntry(entries[1], &bytes[36]);
  EXPECT_EQ(bytes, Bytes("cc18 21c0 0000 0002 1112131415161718 0000000000000102"
                         "2122232425262728 00001388  0000000000000001 ffffffff"));
  FeedbackBatch batch;
  ASSERT_TRUE(ReadFeedbackBatch(bytes, &batch));
  EXPECT_EQ(batch.incarnation, 0x1112131415161718u);
  EXPECT_EQ(batch.first, 0x0102u);
  ASSERT_EQ(batch.count, 2u);
  EXPECT_EQ(ReadFeedbackEntry(bytes, 0), entries[0]);
  EXPECT_EQ(ReadFeedbackEntry(bytes, 1), entries[1]);
}

TEST(FeedbackBatchTest, RefusesALengthThatIsNotItsOwn) {
  std::vector<uint8_t> bytes(kFeedbackBatchHeaderBytes +
                             (kFeedbackEntriesMax + 1) * kFeedbackEntryBytes);
  FeedbackBatch batch;
  WriteFeedbackBatch({.count = kFeedbackEntriesMax}, bytes.data());
  EXPECT_FALSE(ReadFeedbackBatch(bytes, &batch)) << "one more than it says";
  EXPECT_TRUE(
      ReadFeedbackBatch(absl::MakeSpan(bytes).first(bytes.size() - kFeedbackEntryBytes), &batch));
  WriteFeedbackBatch({.count = kFeedbackEntriesMax + 1}, bytes.data());
  EXPECT_FALSE(ReadFeedbackBatch(bytes, &batch));
  WriteFeedbackBatch({.count = 0}, bytes.data());
  EXPECT_FALSE(ReadFeedbackBatch(absl::MakeSpan(bytes).first(kFeedbackBatchHeaderBytes), &batch));
  EXPECT_FALSE(ReadFeedbackBatch({}, &batch));
}

// --- Membership

TEST(MembershipTest, IsWrittenAndRead) {
  const Membership membership = {.incarnation = 0x1112131415161718,
                                 .slots = 4,
                                 .weight = 2,
                                 .keepalive_us = 100'000,
                                 .address = kV4};
  std::vector<uint8_t> bytes(kMembershipBytesMax);
  bytes.resize(WriteMembership(membership, bytes.data()));
  EXPECT_EQ(bytes, Bytes("1112131415161718 0004 0002 000186a0  04 00 80e8 0a000002"));
  Membership read;
  ASSERT_TRUE(ReadMembership(bytes, &read));
  EXPECT_EQ(read.incarnation, membership.incarnation);
  EXPECT_EQ(read.slots, 4);
  EXPECT_EQ(read.weight, 2);
  EXPECT_EQ(read.keepalive_us, 100'000u);
  EXPECT_EQ(read.address, kV4);
}

TEST(MembershipTest, WithoutAnAddressItIsTheSenders) {
  std::vector<uint8_t> bytes(kMembershipBytesMax);
  bytes.resize(WriteMembership({.incarnation = 1, .keepalive_us = 1, .address = {}}, bytes.data()));
  EXPECT_EQ(bytes, Bytes("0000000000000001 0000 0001 00000001  00 00 0000"));
  Membership read = {.address = kV4};
  ASSERT_TRUE(ReadMembership(bytes, &read));
  EXPECT_EQ(read.address.kind(), Address::Kind::kNone);
}

TEST(MembershipTest, RefusesWhatNoServerSays) {
  const char* const bad[] = {
      "",
      "1112131415161718 0004 0002 000186a0  04 00 80",
      "1112131415161718 0004 0000 000186a0  04 00 80e8 0a000002",  // weight 0
      "1112131415161718 0004 0002 00000000  04 00 80e8 0a000002",  // keepalive 0
      "1112131415161718 0004 0002 000186a0  04 00 0000 0a000002",  // port 0
      "1112131415161718 0004 0002 000186a0  73 40 0000 616263",    // name cut off
  };
  for (const char* bytes : bad) {
    Membership read;
    EXPECT_FALSE(ReadMembership(Bytes(bytes), &read)) << bytes;
  }
}

TEST(MembershipAckTest, IsWrittenAndRead) {
  uint8_t bytes[kMembershipAckBytes];
  WriteMembershipAck({0x1112131415161718, 0x2122232425262728, 3, 100'000}, bytes);
  EXPECT_EQ(std::vector<uint8_t>(bytes, bytes + sizeof(bytes)),
            Bytes("1112131415161718 2122232425262728 00000003 000186a0"));
  MembershipAck ack;
  ASSERT_TRUE(ReadMembershipAck(bytes, &ack));
  EXPECT_EQ(ack.incarnation, 0x1112131415161718u);
  EXPECT_EQ(ack.server, 0x2122232425262728u);
  EXPECT_EQ(ack.outstanding, 3u);
  EXPECT_EQ(ack.keepalive_us, 100'000u);
  EXPECT_FALSE(ReadMembershipAck({bytes, 23}, &ack));
}

}  // namespace
}  // namespace weft::r2p2
