// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/service/trailer.h"

#include <string>

#include "absl/strings/cord.h"
#include "gtest/gtest.h"

namespace weft::rpc {
namespace {

constexpr size_t kNoLimit = 1 << 20;

absl::Status Detailed() {
  absl::Status status = absl::NotFoundError("no such \xFFkey");
  status.SetPayload("example.com/hint", absl::Cord(std::string("look\0there", 10)));
  status.SetPayload("example.com/shard", absl::Cord("17"));
  return status;
}

TEST(TrailerTest, AStatusArrivesAsSent) {
  wire::Trailer trailer;
  ASSERT_TRUE(FillTrailer(Detailed(), nullptr, kNoLimit, &trailer));
  wire::Trailer read;
  ASSERT_TRUE(read.ParseFromString(trailer.SerializeAsString()));
  EXPECT_EQ(StatusOf(absl::StatusCode::kNotFound, read), Detailed());
}

TEST(TrailerTest, OkHasNothingToSay) {
  wire::Trailer trailer;
  ASSERT_TRUE(FillTrailer(absl::OkStatus(), nullptr, kNoLimit, &trailer));
  EXPECT_EQ(trailer.ByteSizeLong(), 0u);
  EXPECT_TRUE(StatusOf(absl::StatusCode::kOk, trailer).ok());
}

TEST(TrailerTest, CarriesMetadata) {
  Metadata metadata;
  metadata.Add("served-by", "b");
  wire::Trailer trailer;
  ASSERT_TRUE(FillTrailer(absl::OkStatus(), &metadata, kNoLimit, &trailer));
  ASSERT_EQ(trailer.metadata().entries_size(), 1);
  EXPECT_EQ(trailer.metadata().entries(0).key(), "served-by");
}

// Whatever the limit is, it holds, and the code arrives in any case.
TEST(TrailerTest, WhatIsTooMuchIsLeftOut) {
  Metadata metadata;
  metadata.Add("served-by", "b");
  wire::Trailer trailer;
  const absl::Status status = Detailed();
  ASSERT_TRUE(FillTrailer(status, &metadata, kNoLimit, &trailer));
  const size_t all = trailer.ByteSizeLong();
  for (size_t limit = 0; limit < all; ++limit) {
    EXPECT_FALSE(FillTrailer(status, &metadata, limit, &trailer));
    EXPECT_LE(trailer.ByteSizeLong(), limit);
    const absl::Status read = StatusOf(absl::StatusCode::kNotFound, trailer);
    EXPECT_EQ(read.code(), absl::StatusCode::kNotFound);
    EXPECT_EQ(status.message().substr(0, read.message().size()), read.message());
  }
}

}  // namespace
}  // namespace weft::rpc
