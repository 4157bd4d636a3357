// SPDX-License-Identifier: Apache-2.0
//
// What a hash of a flow costs, by OpenSSL too.
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "benchmark/benchmark.h"
#include "weft/core/siphash.h"

namespace weft {
namespace {

constexpr size_t kWords = 6;  // of a flow and what it is for

void BM_SipHash24(benchmark::State& state) {
  uint64_t words[kWords] = {};
  const SipHashKey key = {1, 2};
  for (auto _ : state) {
    ++words[0];
    benchmark::DoNotOptimize(SipHash24(key, words));
  }
}
BENCHMARK(BM_SipHash24);

void BM_OpenSsl(benchmark::State& state) {
  EVP_MAC* const mac = EVP_MAC_fetch(nullptr, "SIPHASH", nullptr);
  EVP_MAC_CTX* const context = EVP_MAC_CTX_new(mac);
  size_t size = 8;
  const OSSL_PARAM params[] = {OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size),
                               OSSL_PARAM_construct_end()};
  const uint8_t key[16] = {};
  uint64_t words[kWords] = {};
  uint8_t hash[8];
  for (auto _ : state) {
    ++words[0];
    EVP_MAC_init(context, key, sizeof(key), params);
    EVP_MAC_update(context, reinterpret_cast<const uint8_t*>(words), sizeof(words));
    EVP_MAC_final(context, hash, &size, sizeof(hash));
    benchmark::DoNotOptimize(hash);
  }
  EVP_MAC_CTX_free(context);
  EVP_MAC_free(mac);
}
BENCHMARK(BM_OpenSsl);

}  // namespace
}  // namespace weft
