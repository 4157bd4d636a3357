// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/service/service_wire.h"

#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "weft/rpc/service/method.h"

namespace weft::rpc {
namespace {

// Bytes as hexadecimal digits, with spaces where they help.
std::vector<uint8_t> Bytes(absl::string_view hex) {
  const std::string bytes = absl::HexStringToBytes(absl::StrReplaceAll(hex, {{" ", ""}}));
  return {bytes.begin(), bytes.end()};
}

// The examples of docs/protocols/services.md.
struct GoldenRequest {
  absl::string_view name;
  RequestHead head;
  absl::string_view bytes;
};

class GoldenRequestTest : public testing::TestWithParam<GoldenRequest> {};

TEST_P(GoldenRequestTest, IsWrittenAndReadAsDocumented) {
  const std::vector<uint8_t> bytes = Bytes(GetParam().bytes);
  std::vector<uint8_t> written(kRequestHeadBytesMax);
  written.resize(WriteRequestHead(GetParam().head, written.data()));
  EXPECT_EQ(written, bytes);
  EXPECT_EQ(GetParam().head.bytes(), bytes.size());
  RequestHead head;
  ASSERT_TRUE(ReadRequestHead(bytes, &head));
  EXPECT_EQ(head, GetParam().head);
  for (size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_FALSE(ReadRequestHead(absl::MakeConstSpan(bytes).first(n), &head)) << n;
  }
}

const TraceParent kTrace = {.trace_id = {0x4B, 0xF9, 0x2F, 0x35, 0x77, 0xB3, 0x4D, 0xA6, 0xA3, 0xCE,
                                         0x92, 0x9D, 0x0E, 0x0E, 0x47, 0x36},
                            .span_id = {0x00, 0xF0, 0x67, 0xAA, 0x0B, 0xA9, 0x02, 0xB7},
                            .flags = 0x01};

INSTANTIATE_TEST_SUITE_P(
    Kinds, GoldenRequestTest,
    testing::Values(
        GoldenRequest{"Unary",
                      {.metadata_bytes = 0x010203, .id = MethodId("kv.KeyValue/Get")},
                      "5753 01 00 00 010203 0BAA774FFAD1FBE9"},
        GoldenRequest{"TracedUnary",
                      {.traced = true, .id = MethodId("kv.KeyValue/Get"), .trace = kTrace},
                      "5753 01 00 01 000000 0BAA774FFAD1FBE9"
                      "4BF92F3577B34DA6A3CE929D0E0E4736 00F067AA0BA902B7 01"},
        GoldenRequest{"Open",
                      {.kind = RequestKind::kOpen,
                       .id = MethodId("kv.KeyValue/Watch"),
                       .number = 0x1112131415161718},
                      "5753 01 01 00 000000 D257E7346B6C6066 1112131415161718"},
        GoldenRequest{"TracedOpen",
                      {.kind = RequestKind::kOpen,
                       .traced = true,
                       .id = MethodId("kv.KeyValue/Watch"),
                       .number = 0x1112131415161718,
                       .trace = kTrace},
                      "5753 01 01 01 000000 D257E7346B6C6066 1112131415161718"
                      "4BF92F3577B34DA6A3CE929D0E0E4736 00F067AA0BA902B7 01"},
        GoldenRequest{"LastPush",
                      {.kind = RequestKind::kPush,
                       .end_of_messages = true,
                       .id = 0x1112131415161718,
                       .number = 7},
                      "5753 01 02 02 000000 1112131415161718 0000000000000007"},
        GoldenRequest{"Pull",
                      {.kind = RequestKind::kPull, .id = 0x1112131415161718, .number = 0},
                      "5753 01 03 00 000000 1112131415161718 0000000000000000"}),
    [](const auto& info) { return std::string(info.param.name); });

struct GoldenReply {
  absl::string_view name;
  RequestKind kind;
  ReplyHead head;
  absl::string_view bytes;
};

class GoldenReplyTest : public testing::TestWithParam<GoldenReply> {};

TEST_P(GoldenReplyTest, IsWrittenAndReadAsDocumented) {
  const std::vector<uint8_t> bytes = Bytes(GetParam().bytes);
  std::vector<uint8_t> written(kReplyHeadBytesMax);
  written.resize(WriteReplyHead(GetParam().head, GetParam().kind, written.data()));
  EXPECT_EQ(written, bytes);
  ReplyHead head;
  ASSERT_TRUE(ReadReplyHead(bytes, GetParam().kind, &head));
  EXPECT_EQ(head, GetParam().head);
  for (size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_FALSE(ReadReplyHead(absl::MakeConstSpan(bytes).first(n), GetParam().kind, &head)) << n;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, GoldenReplyTest,
    testing::Values(GoldenReply{"Unary", RequestKind::kUnary, {}, "5753 01 00 00 000000"},
                    GoldenReply{"NotFound",
                                RequestKind::kUnary,
                                {.code = absl::StatusCode::kNotFound, .trailer_bytes = 20},
                                "5753 01 05 00 000014"},
                    GoldenReply{"EndOfStream",
                                RequestKind::kOpen,
                                {.number = 300},
                                "5753 01 00 00 000000 000000000000012C"},
                    GoldenReply{"Push", RequestKind::kPush, {}, "5753 01 00 00 000000"},
                    GoldenReply{"LastPull",
                                RequestKind::kPull,
                                {.end_of_messages = true, .number = 299},
                                "5753 01 00 02 000000 000000000000012B"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(ServiceWireTest, WhatNoCorrectPeerWritesIsRefused) {
  const std::vector<uint8_t> good = Bytes("5753 01 00 00 000000 0BAA774FFAD1FBE9");
  RequestHead head;
  ASSERT_TRUE(ReadRequestHead(good, &head));
  const auto refused = [&](size_t at, uint8_t value) {
    std::vector<uint8_t> bytes = good;
    bytes[at] = value;
    return !ReadRequestHead(bytes, &head);
  };
  EXPECT_TRUE(refused(0, 0x58));  // magic
  EXPECT_TRUE(refused(2, 2));     // version
  EXPECT_TRUE(refused(3, 4));     // kind
  EXPECT_TRUE(refused(4, 0x04));  // flags that mean nothing yet
  EXPECT_TRUE(refused(4, 0x01));  // a trace that is not there
  EXPECT_TRUE(refused(3, 1));     // a stream id that is not there

  ReplyHead reply;
  EXPECT_FALSE(ReadReplyHead(Bytes("5753 01 11 00 000000"), RequestKind::kUnary, &reply));
  EXPECT_FALSE(ReadReplyHead(Bytes("5753 01 00 01 000000"), RequestKind::kUnary, &reply));
}

TEST(MethodTest, IdsAreFnv1a) {
  // The vectors of draft-eastlake-fnv.
  EXPECT_EQ(MethodId(""), 0xCBF29CE484222325);
  EXPECT_EQ(MethodId("a"), 0xAF63DC4C8601EC8C);
  EXPECT_EQ(MethodId("foobar"), 0x85944171F73967E8);
}

TEST(MethodTest, NameHasTwoParts) {
  constexpr Method kMethod("kv.KeyValue/Scan", MethodKind::kServerStreaming);
  static_assert(kMethod.id == MethodId("kv.KeyValue/Scan"));
  EXPECT_EQ(kMethod.service(), "kv.KeyValue");
  EXPECT_EQ(kMethod.name(), "Scan");
  EXPECT_TRUE(kMethod.server_streams());
  EXPECT_FALSE(kMethod.client_streams());
}

}  // namespace
}  // namespace weft::rpc
