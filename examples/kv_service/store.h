// SPDX-License-Identifier: Apache-2.0
//
// The service: what kv.proto promises, and nothing about networks. Generated code has its base,
// KeyValueService, with a virtual function for each method.
#ifndef WEFT_EXAMPLES_KV_SERVICE_STORE_H_
#define WEFT_EXAMPLES_KV_SERVICE_STORE_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "weft/core/task.h"
#include "weft/examples/kv_service/kv.weft.h"
#include "weft/rpc/payload.h"

namespace kv {

// Used by one thread, that of its server's loop: methods take turns where they `co_await`, and
// nowhere else, so that there is nothing to lock.
class Store final : public KeyValueService {
 public:
  // Of keys and values together. What would be more is refused.
  explicit Store(size_t bytes_max = size_t{256} << 20) : bytes_max_(bytes_max) {}

  weft::Task<absl::Status> Get(weft::rpc::ServerContext& context, const GetRequest& request,
                               GetResponse* response) override;
  weft::Task<absl::Status> Put(weft::rpc::ServerContext& context, const PutRequest& request,
                               PutResponse* response) override;
  weft::Task<absl::Status> Delete(weft::rpc::ServerContext& context, const DeleteRequest& request,
                                  DeleteResponse* response) override;
  weft::Task<absl::Status> Scan(weft::rpc::ServerContext& context, const ScanRequest& request,
                                weft::rpc::ServerWriter<Row>& rows) override;
  weft::Task<absl::Status> Read(weft::rpc::ServerContext& context, const ReadRequest& request,
                                weft::rpc::Payload* response) override;

 private:
  // Shared with replies that are on their way, which a Put() or Delete() must not pull the bytes
  // from under.
  using Value = std::shared_ptr<const std::string>;

  const size_t bytes_max_;
  size_t bytes_ = 0;
  absl::btree_map<std::string, Value> values_;
};

}  // namespace kv

#endif  // WEFT_EXAMPLES_KV_SERVICE_STORE_H_
