// SPDX-License-Identifier: Apache-2.0
#include "weft/core/siphash.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <cstring>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/prng.h"

namespace weft {
namespace {

static_assert(std::endian::native == std::endian::little);

// The key and two of the messages (00 01 02 ...) of the reference implementation's test vectors.
TEST(SipHashTest, VectorsOfItsAuthors) {
  const SipHashKey key = {.low = 0x0706050403020100, .high = 0x0f0e0d0c0b0a0908};
  EXPECT_EQ(SipHash24(key, {}), 0x726fdb47dd0e0e31u);
  EXPECT_EQ(SipHash24(key, {0x0706050403020100}), 0x93f5f5799a932462u);
}

// OpenSSL's, of the bytes of `words`.
uint64_t Reference(const SipHashKey& key, const std::vector<uint64_t>& words) {
  const std::unique_ptr<EVP_MAC, decltype(&EVP_MAC_free)> mac(
      EVP_MAC_fetch(nullptr, "SIPHASH", nullptr), &EVP_MAC_free);
  const std::unique_ptr<EVP_MAC_CTX, decltype(&EVP_MAC_CTX_free)> context(
      EVP_MAC_CTX_new(mac.get()), &EVP_MAC_CTX_free);
  size_t size = 8;
  const OSSL_PARAM params[] = {OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size),
                               OSSL_PARAM_construct_end()};
  uint8_t key_bytes[16];
  std::memcpy(key_bytes, &key.low, 8);
  std::memcpy(key_bytes + 8, &key.high, 8);
  EXPECT_EQ(EVP_MAC_init(context.get(), key_bytes, sizeof(key_bytes), params), 1);
  EXPECT_EQ(EVP_MAC_update(context.get(), reinterpret_cast<const uint8_t*>(words.data()),
                           words.size() * 8),
            1);
  uint64_t hash = 0;
  EXPECT_EQ(EVP_MAC_final(context.get(), reinterpret_cast<uint8_t*>(&hash), &size, sizeof(hash)),
            1);
  return hash;
}

TEST(SipHashTest, AgreesWithOpenSsl) {
  Prng prng(1);
  for (int i = 0; i < 1000; ++i) {
    const SipHashKey key = {prng.Next(), prng.Next()};
    std::vector<uint64_t> words(prng.Below(40));
    for (uint64_t& word : words) word = prng.Next();
    ASSERT_EQ(SipHash24(key, words), Reference(key, words)) << words.size();
  }
}

}  // namespace
}  // namespace weft
