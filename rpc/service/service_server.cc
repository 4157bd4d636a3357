// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/service/service_server.h"

#include <array>
#include <bit>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "weft/rpc/call_status.h"

namespace weft::rpc {

absl::StatusOr<std::unique_ptr<ServiceServer>> ServiceServer::Create(
    Loop& loop, std::unique_ptr<DatagramPort> port, const ServerOptions& server_options,
    const ServiceOptions& service_options, absl::Span<Service* const> services) {
  std::unique_ptr<ServiceServer> server(new ServiceServer());
  server->core_.options = service_options;
  for (Service* const service : services) {
    if (absl::Status status = server->AddMethods(*service); !status.ok()) return status;
  }
  if (service_options.reflection) {
    server->reflection_ = std::make_unique<Reflection>(services);
    if (absl::Status status = server->AddMethods(*server->reflection_); !status.ok()) return status;
  }
  server->FillTable();
  auto created = Server::Create(loop, std::move(port), server_options,
                                [self = server.get()](HandlerTasks& tasks, ServerCall&& call) {
                                  return self->OnCall(tasks, std::move(call));
                                });
  if (!created.ok()) return created.status();
  server->server_ = *std::move(created);
  server->core_.buffers = &server->server_->port().pool();
  server->core_.port = &server->server_->port();
  std::vector<std::string> methods;
  for (const auto& handler : server->handlers_) {
    methods.emplace_back(handler->method().full_name);
  }
  server->authorisation_ = server->server_->LeaveAuthorisationTo(std::move(methods));
  server->streams_ = std::make_unique<ServerStreams>(*server->server_, service_options.streams);
  server->core_.streams = server->streams_.get();
  return server;
}

ServiceServer::~ServiceServer() = default;

absl::Status ServiceServer::AddMethods(Service& service) {
  const ServiceDescriptor& descriptor = service.descriptor();
  for (const Service* const other : services_) {
    if (other->descriptor().name == descriptor.name) {
      return absl::InvalidArgumentError(
          absl::StrCat("the service ", descriptor.name, " is given twice"));
    }
  }
  services_.push_back(&service);
  for (size_t i = 0; i < descriptor.methods.size(); ++i) {
    const Method& method = descriptor.methods[i];
    for (const auto& other : handlers_) {
      if (other->method().id != method.id) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("the methods ", other->method().full_name, " and ", method.full_name,
                       " have the same id; one of them needs another name"));
    }
    handlers_.push_back(service.handlers()[i](service, method, core_));
  }
  return absl::OkStatus();
}

void ServiceServer::FillTable() {
  table_.resize(std::bit_ceil(2 * handlers_.size() + 1));
  mask_ = table_.size() - 1;
  for (size_t index = 0; index < handlers_.size(); ++index) {
    MethodHandler* const handler = handlers_[index].get();
    size_t i = handler->method().id & mask_;
    while (table_[i].handler != nullptr) i = (i + 1) & mask_;
    table_[i] = {.id = handler->method().id, .handler = handler, .index = index};
  }
}

HandlerTasks::Running* ServiceServer::OnCall(HandlerTasks& tasks, ServerCall&& call) {
  RequestHead head;
  absl::Span<const uint8_t> bytes = call.request().front();
  std::array<uint8_t, kRequestHeadBytesMax> joined;
  if (bytes.size() < joined.size() && call.request().pieces() > 1) [[unlikely]] {
    bytes = absl::MakeSpan(joined).first(call.request().CopyTo(absl::MakeSpan(joined)));
  }
  if (!ReadRequestHead(bytes, &head)) [[unlikely]] {
    ++core_.stats.malformed;
    core_.ReplyWithStatus(
        call, RequestKind::kUnary,
        NotExecuted(absl::InvalidArgumentError(
            "the request is not one of a service: this server has nothing else")));
    return nullptr;
  }
  if (head.kind == RequestKind::kPush || head.kind == RequestKind::kPull) {
    call.request().TrimFront(head.bytes() + head.metadata_bytes);
    if (head.kind == RequestKind::kPush) {
      streams_->OnPush(std::move(call), head);
    } else {
      streams_->OnPull(std::move(call), head);
    }
    return nullptr;
  }
  const Place& place = Find(head.id);
  MethodHandler* const handler = place.handler;
  if (handler == nullptr || handler->request_kind() != head.kind) [[unlikely]] {
    Refuse(call, head);
    return nullptr;
  }
  if (authorisation_ != nullptr &&
      !authorisation_->Allows(server_->port(), call.client(), place.index)) [[unlikely]] {
    Forbid(call, *handler);
    return nullptr;
  }
  call.request().TrimFront(head.bytes());
  return handler->Start(tasks, std::move(call), head);
}

void ServiceServer::Refuse(ServerCall& call, const RequestHead& head) {
  ++core_.stats.unknown_methods;
  const MethodHandler* const handler = Find(head.id).handler;
  core_.ReplyWithStatus(
      call, head.kind,
      NotExecuted(absl::UnimplementedError(
          handler == nullptr
              ? absl::StrCat("the server has no method with the id ", absl::Hex(head.id))
              : absl::StrCat(handler->method().full_name, " is ",
                             head.kind == RequestKind::kUnary ? "" : "not ", "a stream"))));
}

void ServiceServer::Forbid(ServerCall& call, const MethodHandler& handler) {
  ++core_.stats.forbidden;
  const absl::string_view identity = call.identity();
  core_.ReplyWithStatus(
      call, handler.request_kind(),
      NotExecuted(absl::PermissionDeniedError(
          absl::StrCat(identity.empty() ? "nobody in particular" : absl::StrCat("'", identity, "'"),
                       " may not call ", handler.method().full_name))));
}

}  // namespace weft::rpc
