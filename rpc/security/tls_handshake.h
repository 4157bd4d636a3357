// SPDX-License-Identifier: Apache-2.0
//
// One side of one TLS 1.3 handshake whose bytes go over datagrams: each side's bytes are a stream
// that is cut into FLIGHT packets, of which the other side acknowledges what has come in sequence.
// Nothing here has a timer: the client's port sends again what was not acknowledged, and a server
// answers each packet, so that a server that hears nothing does nothing.
#ifndef WEFT_RPC_SECURITY_TLS_HANDSHAKE_H_
#define WEFT_RPC_SECURITY_TLS_HANDSHAKE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "weft/rpc/security/credentials.h"
#include "weft/rpc/security/openssl_ptr.h"
#include "weft/rpc/security/secure_stats.h"
#include "weft/rpc/security/secure_wire.h"
#include "weft/rpc/security/tls_callbacks.h"
#include "weft/rpc/security/traffic_keys.h"

namespace weft::rpc {

// What a completed handshake leaves.
struct HandshakeResult {
  TrafficSecret client_secret;  // of what the client sends
  TrafficSecret server_secret;
  Cipher cipher = Cipher::kAes128Gcm;
  std::string identity;  // the peer's
};

class TlsHandshake {
 public:
  // More than any chain of certificates that makes sense.
  static constexpr size_t kStreamBytesMax = 65536;
  // Packets on their way without an acknowledgement.
  static constexpr size_t kWindowPackets = 16;

  // `server_name`: what a client wants the server's certificate to be for.
  TlsHandshake(Role role, std::shared_ptr<const Credentials> credentials, std::string server_name);

  // Takes in the other side's bytes and goes on with the handshake: a client's begins with an empty
  // span at offset 0. Bytes that leave a gap are dropped, to be sent again. False if there was
  // nothing new.
  bool OnBytes(uint32_t offset, absl::Span<const uint8_t> bytes);
  // Whether OnBytes() with that would do work, which takes a good part of a millisecond.
  bool WouldWork(uint32_t offset, absl::Span<const uint8_t> bytes) const;

  // The other side has so many of our bytes; with `resend`, what it has not was lost.
  void OnAcknowledged(uint32_t acknowledged, bool resend);
  // Everything that was sent but not acknowledged is sent again.
  void Resend() { sent_ = acknowledged_; }

  // Calls send(offset, bytes) with pieces of at most `piece_bytes` that may be sent now. Returns
  // how many.
  size_t SendPieces(size_t piece_bytes,
                    absl::FunctionRef<void(uint32_t, absl::Span<const uint8_t>)> send);

  uint32_t received() const { return received_; }
  uint32_t acknowledged() const { return acknowledged_; }
  // The TLS handshake has succeeded on this side.
  bool done() const { return done_; }
  // Ok, or why it has failed. Bytes that tell the other side may remain to be sent.
  const absl::Status& status() const { return status_; }
  Failure failure() const { return failure_; }
  // The peer's, when done.
  const std::string& identity() const { return question_.identity; }

  // The server's last word, when done, and all that a client believes that it is: its number of the
  // connection, protected by TLS. False when OpenSSL fails.
  bool SayNumber(uint32_t number);
  // Of a client: what the server has said; it has then accepted this side.
  const std::optional<uint32_t>& server_number() const { return number_; }

  // Once, when done: the keys, bound to both sides' numbers of this connection. Forgets the rest of
  // TLS. An error if OpenSSL fails.
  absl::Status Finish(uint32_t client_connection, uint32_t server_connection, uint64_t attempt,
                      HandshakeResult* result);

 private:
  void Step();
  void OnNumber(absl::Span<const uint8_t> said);
  void TakeOutput();
  absl::Status CheckPeer();
  void Fail();
  void FailBecause(Failure failure, absl::Status status);

  const Role role_;
  std::shared_ptr<const Credentials> credentials_;
  TlsQuestion question_;
  SslPtr ssl_;
  std::string out_;  // all of this side's bytes
  uint32_t acknowledged_ = 0;
  uint32_t sent_ = 0;
  uint32_t received_ = 0;
  bool started_ = false;
  bool done_ = false;
  std::optional<uint32_t> number_;
  absl::Status status_;
  Failure failure_ = Failure::kOther;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SECURITY_TLS_HANDSHAKE_H_
