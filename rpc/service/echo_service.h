// SPDX-License-Identifier: Apache-2.0
//
// The service of the tests (testing.proto), and what they need to serve and call it.
#ifndef WEFT_RPC_SERVICE_ECHO_SERVICE_H_
#define WEFT_RPC_SERVICE_ECHO_SERVICE_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/time/time.h"
#include "weft/core/task.h"
#include "weft/rpc/service/testing.weft.h"

namespace weft::rpc::testing {

// Byte `i` of what Read() answers.
inline uint8_t ByteAt(uint64_t i) { return static_cast<uint8_t>(i); }

class EchoServer final : public EchoService {
 public:
  Task<absl::Status> Echo(ServerContext& context, const EchoRequest& request,
                          EchoResponse* response) override {
    ++begun;
    const Ended count(&ended);
    if (request.wait_us() > 0) {
      co_await context.loop().Sleep(absl::Microseconds(request.wait_us()));
    }
    for (uint32_t i = 0; i < request.times(); ++i) response->mutable_text()->append(request.text());
    context.request_metadata().ForEach([&](absl::string_view key, absl::string_view value) {
      context.reply_metadata().Add(key, value);
    });
    co_return absl::OkStatus();
  }

  Task<absl::Status> Fail(ServerContext& context, const FailRequest& request,
                          EchoResponse*) override {
    absl::Status status(static_cast<absl::StatusCode>(request.code()), request.message());
    for (const auto& [url, value] : request.details()) status.SetPayload(url, absl::Cord(value));
    context.reply_metadata().Add("failed", "yes");
    co_return status;
  }

  Task<absl::Status> Read(ServerContext&, const ReadRequest& request, Payload* response) override {
    data_.resize(request.bytes());
    for (uint64_t i = 0; i < data_.size(); ++i) data_[i] = static_cast<char>(ByteAt(i));
    *response = Payload::External({reinterpret_cast<const uint8_t*>(data_.data()), data_.size()});
    co_return absl::OkStatus();
  }

  Task<absl::Status> Write(ServerContext&, BufferChain& request, WriteResponse* response) override {
    uint32_t sum = 0;
    for (const absl::Span<const uint8_t> piece : request) {
      for (const uint8_t byte : piece) sum += byte;
    }
    response->set_bytes(request.size());
    response->set_sum(sum);
    co_return absl::OkStatus();
  }

  Task<absl::Status> Mirror(ServerContext&, BufferChain& request, Payload* response) override {
    *response = Payload(std::move(request));
    co_return absl::OkStatus();
  }

  int begun = 0;
  int ended = 0;

 private:
  struct Ended {
    explicit Ended(int* count) : count(count) {}
    ~Ended() { ++*count; }
    int* const count;
  };

  std::string data_;
};

}  // namespace weft::rpc::testing

#endif  // WEFT_RPC_SERVICE_ECHO_SERVICE_H_
