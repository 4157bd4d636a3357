// SPDX-License-Identifier: Apache-2.0
//
// The service of the tests of streams (stream_testing.proto).
#ifndef WEFT_RPC_SERVICE_STREAM_SERVICE_H_
#define WEFT_RPC_SERVICE_STREAM_SERVICE_H_

#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "weft/core/task.h"
#include "weft/rpc/service/stream_testing.weft.h"

namespace weft::rpc::testing {

class StreamServer final : public StreamsService {
 public:
  Task<absl::Status> Count(ServerContext& context, const CountRequest& request,
                           ServerWriter<Item>& items) override {
    ++begun;
    const Ended count(&ended);
    Item item;
    item.set_payload(request.payload());
    for (uint64_t i = request.from(); i < request.to(); ++i) {
      item.set_number(i);
      if (!co_await items.Write(item)) break;
      ++written;
    }
    if (auto tenant = context.request_metadata().Find("tenant")) {
      context.reply_metadata().Add("tenant", *tenant);
    }
    co_return absl::Status(static_cast<absl::StatusCode>(request.code()), request.message());
  }

  Task<absl::Status> Sum(ServerContext&, ServerReader<Item>& items,
                         SumResponse* response) override {
    ++begun;
    const Ended count(&ended);
    Item item;
    while (co_await items.Read(&item)) {
      response->set_items(response->items() + 1);
      response->set_sum(response->sum() + item.number());
    }
    co_return absl::OkStatus();
  }

  Task<absl::Status> Chat(ServerContext&, ServerReaderWriter<Item, Item>& items) override {
    ++begun;
    const Ended count(&ended);
    Item item;
    while (co_await items.Read(&item)) {
      if (!co_await items.Write(item)) break;
    }
    co_return absl::OkStatus();
  }

  Task<absl::Status> Mirror(ServerContext&,
                            ServerReaderWriter<RawBytes, RawBytes>& blobs) override {
    BufferChain blob;
    while (co_await blobs.Read(&blob)) {
      const Payload same(std::move(blob));
      if (!co_await blobs.Write(same)) break;
    }
    co_return absl::OkStatus();
  }

  int begun = 0;
  int ended = 0;
  uint64_t written = 0;

 private:
  struct Ended {
    explicit Ended(int* count) : count(count) {}
    ~Ended() { ++*count; }
    int* const count;
  };
};

}  // namespace weft::rpc::testing

#endif  // WEFT_RPC_SERVICE_STREAM_SERVICE_H_
