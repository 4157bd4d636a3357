// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/security/aead.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>

#include "weft/core/bytes.h"

namespace weft::rpc {
namespace {

// Fetched once, which takes longer than to encrypt a packet; never freed.
const EVP_CIPHER* Implementation(Cipher cipher) {
  static const EVP_CIPHER* const kAes128Gcm = EVP_CIPHER_fetch(nullptr, "AES-128-GCM", nullptr);
  static const EVP_CIPHER* const kAes256Gcm = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
  static const EVP_CIPHER* const kChacha20Poly1305 =
      EVP_CIPHER_fetch(nullptr, "ChaCha20-Poly1305", nullptr);
  switch (cipher) {
    case Cipher::kAes128Gcm:
      return kAes128Gcm;
    case Cipher::kAes256Gcm:
      return kAes256Gcm;
    case Cipher::kChacha20Poly1305:
      return kChacha20Poly1305;
  }
  return nullptr;
}

// EVP_Cipher() goes straight to the implementation, which for these ciphers takes any number of
// calls and an end, as EVP_CipherUpdate() and EVP_CipherFinal() do.
bool Update(EVP_CIPHER_CTX* context, uint8_t* out, const uint8_t* in, size_t size) {
  return size == 0 || EVP_Cipher(context, out, in, static_cast<unsigned>(size)) >= 0;
}

bool Finish(EVP_CIPHER_CTX* context) { return EVP_Cipher(context, nullptr, nullptr, 0) >= 0; }

}  // namespace

Aead::~Aead() { OPENSSL_cleanse(iv_.data(), iv_.size()); }

bool Aead::SetKey(Cipher cipher, absl::Span<const uint8_t> key, const Iv& iv, Use use) {
  Reset();
  const EVP_CIPHER* const implementation = Implementation(cipher);
  CipherContextPtr context(EVP_CIPHER_CTX_new());
  if (implementation == nullptr || context == nullptr || key.size() != KeyBytes(cipher)) {
    return false;
  }
  if (EVP_CipherInit_ex2(context.get(), implementation, key.data(), iv.data(),
                         use == Use::kSeal ? 1 : 0, nullptr) != 1) {
    ERR_clear_error();
    return false;
  }
  context_ = std::move(context);
  iv_ = iv;
  return true;
}

std::array<uint8_t, Aead::kIvBytes> Aead::Nonce(uint64_t number) const {
  std::array<uint8_t, kIvBytes> nonce = iv_;
  uint8_t* const last = &nonce[kIvBytes - sizeof(number)];
  StoreBig64(last, LoadBig64(last) ^ number);
  return nonce;
}

bool Aead::Seal(uint64_t number, uint8_t* data, size_t size, absl::Span<const uint8_t> tail) {
  const auto nonce = Nonce(number);
  uint8_t* const end = data + size + tail.size();
  OSSL_PARAM tag[] = {OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, end, kTagBytes),
                      OSSL_PARAM_construct_end()};
  return EVP_EncryptInit_ex2(context_.get(), nullptr, nullptr, nonce.data(), nullptr) == 1 &&
         Update(context_.get(), data, data, size) &&
         Update(context_.get(), data + size, tail.data(), tail.size()) && Finish(context_.get()) &&
         EVP_CIPHER_CTX_get_params(context_.get(), tag) == 1;
}

bool Aead::Open(uint64_t number, uint8_t* data, size_t size) {
  if (size < kTagBytes) return false;
  const auto nonce = Nonce(number);
  size -= kTagBytes;
  OSSL_PARAM tag[] = {
      OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, data + size, kTagBytes),
      OSSL_PARAM_construct_end()};
  return EVP_DecryptInit_ex2(context_.get(), nullptr, nullptr, nonce.data(), tag) == 1 &&
         Update(context_.get(), data, data, size) && Finish(context_.get());
}

}  // namespace weft::rpc
