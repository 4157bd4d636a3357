// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/security/tls_handshake.h"

#include <algorithm>
#include <array>
#include <utility>

#include "weft/core/bytes.h"
#include "weft/rpc/security/tls_failure.h"

namespace weft::rpc {
namespace {

constexpr absl::string_view kExporterLabel = "EXPORTER-weft-datagrams-1";
constexpr size_t kNumberBytes = 4;

}  // namespace

TlsHandshake::TlsHandshake(Role role, std::shared_ptr<const Credentials> credentials,
                           std::string server_name)
    : role_(role), credentials_(std::move(credentials)) {
  question_.credentials = credentials_.get();
  question_.server_name = std::move(server_name);
  ssl_ = credentials_->NewSsl(role);
  if (ssl_ == nullptr) {
    FailBecause(Failure::kOther, absl::ResourceExhaustedError("OpenSSL has no memory"));
    return;
  }
  BindTls(ssl_.get(), &question_);
}

bool TlsHandshake::WouldWork(uint32_t offset, absl::Span<const uint8_t> bytes) const {
  if (ssl_ == nullptr || !status_.ok()) return false;
  if (!started_ && role_ == Role::kClient) return true;
  return offset <= received_ && bytes.size() > received_ - offset;
}

bool TlsHandshake::OnBytes(uint32_t offset, absl::Span<const uint8_t> bytes) {
  if (!WouldWork(offset, bytes)) return false;
  started_ = true;
  if (offset <= received_ && bytes.size() > received_ - offset) {
    bytes.remove_prefix(received_ - offset);
    if (received_ + bytes.size() > kStreamBytesMax) {
      FailBecause(Failure::kOther, absl::UnauthenticatedError("the peer's handshake is too long"));
      return true;
    }
    const auto size = static_cast<int>(bytes.size());
    if (BIO_write(SSL_get_rbio(ssl_.get()), bytes.data(), size) != size) {
      FailBecause(Failure::kOther, absl::ResourceExhaustedError("OpenSSL has no memory"));
      return true;
    }
    received_ += static_cast<uint32_t>(bytes.size());
  }
  Step();
  return true;
}

void TlsHandshake::Step() {
  ERR_clear_error();
  // A client is done before the server has seen who it is, and may learn that it is refused.
  std::array<uint8_t, kNumberBytes> said;
  const int result = done_ ? SSL_read(ssl_.get(), said.data(), static_cast<int>(said.size()))
                           : SSL_do_handshake(ssl_.get());
  const int error = SSL_get_error(ssl_.get(), result);
  TakeOutput();
  if (result > 0 && done_) {
    OnNumber(absl::MakeConstSpan(said).first(static_cast<size_t>(result)));
  } else if (result == 1) {
    if (absl::Status status = CheckPeer(); !status.ok()) {
      FailBecause(Failure::kOther, std::move(status));
    } else {
      done_ = true;
    }
  } else if (error != SSL_ERROR_WANT_READ) {
    done_ = false;
    Fail();
  } else if (out_.size() > kStreamBytesMax) {
    FailBecause(Failure::kOther,
                absl::FailedPreconditionError("this side's chain of certificates is too long"));
  }
}

void TlsHandshake::OnNumber(absl::Span<const uint8_t> said) {
  if (role_ != Role::kClient || number_.has_value() || said.size() != kNumberBytes) {
    done_ = false;
    return FailBecause(Failure::kOther,
                       absl::UnauthenticatedError("the peer says what it must not"));
  }
  number_ = LoadBig32(said.data());
}

bool TlsHandshake::SayNumber(uint32_t number) {
  std::array<uint8_t, kNumberBytes> said;
  StoreBig32(said.data(), number);
  ERR_clear_error();
  if (SSL_write(ssl_.get(), said.data(), static_cast<int>(said.size())) !=
      static_cast<int>(said.size())) {
    return false;
  }
  TakeOutput();
  return true;
}

void TlsHandshake::TakeOutput() {
  std::array<char, 4096> piece;
  for (;;) {
    const int n = BIO_read(SSL_get_wbio(ssl_.get()), piece.data(), static_cast<int>(piece.size()));
    if (n <= 0) return;
    out_.append(piece.data(), static_cast<size_t>(n));
  }
}

// OpenSSL would not have come here otherwise; this is what all of the rest relies on.
absl::Status TlsHandshake::CheckPeer() {
  X509* const certificate = SSL_get0_peer_certificate(ssl_.get());
  const bool proven = credentials_->uses_certificates()
                          ? certificate != nullptr && SSL_get_verify_result(ssl_.get()) == X509_V_OK
                          : certificate == nullptr && SSL_session_reused(ssl_.get()) == 1;
  if (!proven || SSL_version(ssl_.get()) != TLS1_3_VERSION) {
    return absl::UnauthenticatedError("the peer has proven nothing");
  }
  if (certificate != nullptr) {
    if (role_ == Role::kClient && !CertificateIsFor(certificate, question_.server_name)) {
      return absl::UnauthenticatedError("the server's certificate is for another one");
    }
    question_.identity = IdentityOfCertificate(certificate);
  }
  if (question_.identity.empty()) {
    return absl::UnauthenticatedError("the peer's certificate holds no name");
  }
  return absl::OkStatus();
}

void TlsHandshake::Fail() {
  TlsFailure failure = ExplainTlsFailure(ssl_.get(), role_, question_);
  FailBecause(failure.failure, std::move(failure.status));
}

void TlsHandshake::FailBecause(Failure failure, absl::Status status) {
  failure_ = failure;
  status_ = std::move(status);
  ssl_.reset();
}

void TlsHandshake::OnAcknowledged(uint32_t acknowledged, bool resend) {
  if (acknowledged > out_.size()) return;
  acknowledged_ = std::max(acknowledged_, acknowledged);
  sent_ = resend ? acknowledged_ : std::max(sent_, acknowledged_);
}

size_t TlsHandshake::SendPieces(size_t piece_bytes,
                                absl::FunctionRef<void(uint32_t, absl::Span<const uint8_t>)> send) {
  size_t pieces = 0;
  const auto* const bytes = reinterpret_cast<const uint8_t*>(out_.data());
  while (sent_ < out_.size() && sent_ < acknowledged_ + kWindowPackets * piece_bytes) {
    const size_t size = std::min(piece_bytes, out_.size() - sent_);
    send(sent_, absl::MakeConstSpan(bytes + sent_, size));
    sent_ += static_cast<uint32_t>(size);
    ++pieces;
  }
  return pieces;
}

absl::Status TlsHandshake::Finish(uint32_t client_connection, uint32_t server_connection,
                                  uint64_t attempt, HandshakeResult* result) {
  std::array<uint8_t, 16> context;
  StoreBig32(&context[0], client_connection);
  StoreBig32(&context[4], server_connection);
  StoreBig64(&context[8], attempt);
  std::array<uint8_t, 2 * TrafficSecret::kBytes> secrets;
  const bool exported =
      SSL_export_keying_material(ssl_.get(), secrets.data(), secrets.size(), kExporterLabel.data(),
                                 kExporterLabel.size(), context.data(), context.size(), 1) == 1;
  if (exported) {
    constexpr size_t kBytes = TrafficSecret::kBytes;
    const auto span = absl::MakeConstSpan(secrets);
    result->client_secret = TrafficSecret(span.first(kBytes));
    result->server_secret = TrafficSecret(span.subspan(kBytes));
    result->identity = question_.identity;
  }
  OPENSSL_cleanse(secrets.data(), secrets.size());
  const uint16_t suite = SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl_.get()));
  result->cipher = suite == 0x1302   ? Cipher::kAes256Gcm
                   : suite == 0x1303 ? Cipher::kChacha20Poly1305
                                     : Cipher::kAes128Gcm;
  ssl_.reset();
  credentials_.reset();
  return exported ? absl::OkStatus() : absl::InternalError(TakeOpensslError());
}

}  // namespace weft::rpc
