// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/grpc/connection.h"

#include <chrono>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace weft::benchmarks::grpc_peer {
namespace {

constexpr int kWindowBytes = 64 << 20;  // HTTP/2's flow control, until gRPC has measured the path
constexpr int kFrameBytes = (1 << 24) - 1;  // the longest that HTTP/2 has
constexpr std::pair<const char*, int> kLimits[] = {
    {GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, -1},
    {GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, -1},
    {GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kWindowBytes},
    {GRPC_ARG_HTTP2_MAX_FRAME_SIZE, kFrameBytes},
};

std::string Contents(const std::string& path) {
  std::ostringstream contents;
  contents << std::ifstream(path).rdbuf();
  return contents.str();
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ServerCredentials(
    const std::string& certificates) {
  if (certificates.empty()) return grpc::InsecureServerCredentials();
  grpc::SslServerCredentialsOptions options(
      GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = Contents(absl::StrCat(certificates, "/ca.pem"));
  options.pem_key_cert_pairs.push_back({Contents(absl::StrCat(certificates, "/server.key")),
                                        Contents(absl::StrCat(certificates, "/server.pem"))});
  std::shared_ptr<grpc::ServerCredentials> credentials = grpc::SslServerCredentials(options);
  if (credentials == nullptr) return absl::InvalidArgumentError("gRPC refuses the certificates");
  return credentials;
}

void SetLimits(grpc::ServerBuilder* builder) {
  for (const auto& [name, value] : kLimits) builder->AddChannelArgument(name, value);
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const std::string& address,
                                                       const std::string& certificates) {
  grpc::ChannelArguments arguments;
  for (const auto& [name, value] : kLimits) arguments.SetInt(name, value);
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (!certificates.empty()) {
    arguments.SetSslTargetNameOverride("localhost");  // A Unix domain socket has no name.
    credentials = grpc::SslCredentials(
        {.pem_root_certs = Contents(absl::StrCat(certificates, "/ca.pem")),
         .pem_private_key = Contents(absl::StrCat(certificates, "/client.key")),
         .pem_cert_chain = Contents(absl::StrCat(certificates, "/client.pem"))});
  }
  std::shared_ptr<grpc::Channel> channel =
      grpc::CreateCustomChannel(address, credentials, arguments);
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(5))) {
    return absl::UnavailableError(absl::StrCat("gRPC cannot connect to ", address));
  }
  return channel;
}

}  // namespace weft::benchmarks::grpc_peer
