// SPDX-License-Identifier: Apache-2.0
#include "weft/examples/kv_service/store.h"

#include <cstdint>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace kv {
namespace {

constexpr size_t kKeyBytesMax = 1024;

absl::Status NoSuchKey(const std::string& key) {
  return absl::NotFoundError(absl::StrCat("there is no key '", key, "'"));
}

}  // namespace

weft::Task<absl::Status> Store::Get(weft::rpc::ServerContext&, const GetRequest& request,
                                    GetResponse* response) {
  const auto found = values_.find(request.key());
  if (found == values_.end()) co_return NoSuchKey(request.key());
  response->set_value(*found->second);
  co_return absl::OkStatus();
}

weft::Task<absl::Status> Store::Put(weft::rpc::ServerContext&, const PutRequest& request,
                                    PutResponse* response) {
  const std::string& key = request.key();
  if (key.empty() || key.size() > kKeyBytesMax) {
    co_return absl::InvalidArgumentError(
        absl::StrCat("a key of ", key.size(), " bytes; give one of 1 to ", kKeyBytesMax));
  }
  const auto found = values_.find(key);
  const size_t before = found == values_.end() ? 0 : key.size() + found->second->size();
  const size_t after = key.size() + request.value().size();
  if (bytes_ - before + after > bytes_max_) {
    co_return absl::ResourceExhaustedError(
        absl::StrCat("the store is full: it holds ", bytes_max_, " bytes at most"));
  }
  bytes_ = bytes_ - before + after;
  values_[key] = std::make_shared<const std::string>(request.value());
  response->set_replaced(before > 0);
  co_return absl::OkStatus();
}

weft::Task<absl::Status> Store::Delete(weft::rpc::ServerContext&, const DeleteRequest& request,
                                       DeleteResponse* response) {
  const auto found = values_.find(request.key());
  if (found != values_.end()) {
    bytes_ -= found->first.size() + found->second->size();
    values_.erase(found);
    response->set_deleted(true);
  }
  co_return absl::OkStatus();
}

weft::Task<absl::Status> Store::Scan(weft::rpc::ServerContext&, const ScanRequest& request,
                                     weft::rpc::ServerWriter<Row>& rows) {
  Row row;
  for (auto at = values_.lower_bound(request.prefix());
       at != values_.end() && absl::StartsWith(at->first, request.prefix());
       at = values_.upper_bound(row.key())) {  // looked up anew: others ran while this one waited
    row.set_key(at->first);
    row.set_value(*at->second);
    // Waits while the client has no room; false when it is gone, and then nothing else matters.
    if (!co_await rows.Write(row)) break;
  }
  co_return absl::OkStatus();
}

weft::Task<absl::Status> Store::Read(weft::rpc::ServerContext&, const ReadRequest& request,
                                     weft::rpc::Payload* response) {
  const auto found = values_.find(request.key());
  if (found == values_.end()) co_return NoSuchKey(request.key());
  const Value value = found->second;
  // The reply is these bytes; the function that is called when they are not needed any more holds
  // them until then.
  *response = weft::rpc::Payload::External(
      {reinterpret_cast<const uint8_t*>(value->data()), value->size()}, [value] {});
  co_return absl::OkStatus();
}

}  // namespace kv
