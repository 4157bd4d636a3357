// SPDX-License-Identifier: Apache-2.0
//
// A program for tests of what shows programs (the status page, `weft rpc top`): each worker has a
// server and a client that calls it again and again, over the transport of the configuration.
//
//   busy_program --config FILE              its methods take various times, and some fail
//   busy_program --config FILE --hostile    and some names are such as an attacker would choose
//   busy_program --config FILE --no_rpc     nothing but a port
//
// It prints where HTTP is served, and ends on SIGTERM.

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "weft/config/flags.h"
#include "weft/core/task_group.h"
#include "weft/host/host.h"
#include "weft/rpc/client.h"
#include "weft/rpc/describe.h"
#include "weft/rpc/options.h"
#include "weft/rpc/server.h"
#include "weft/rpc/service/method_stats.h"

ABSL_FLAG(bool, hostile, false, "have names with markup and control characters");
ABSL_FLAG(bool, no_rpc, false, "have a port only");

namespace weft {
namespace {

struct Behaviour {
  std::string method;
  absl::Duration takes;
  int fails_every = 0;  // 0: never
  absl::StatusCode with = absl::StatusCode::kOk;
};

std::vector<Behaviour> Behaviours() {
  std::vector<Behaviour> all = {
      {"kv.KeyValue/Get", absl::ZeroDuration()},
      {"kv.KeyValue/Put", absl::Microseconds(400)},
      {"kv.KeyValue/Delete", absl::Microseconds(100), 4, absl::StatusCode::kNotFound},
      {"kv.KeyValue/Scan", absl::Milliseconds(5), 9, absl::StatusCode::kResourceExhausted},
  };
  if (absl::GetFlag(FLAGS_hostile)) {
    for (const std::string& method :
         {std::string("<script>document.title='owned'</script>"),
          std::string("\"><img src=x onerror=\"document.title='owned'\">"),
          std::string("bell\a escape\x1b[31mred\x1b]0;owned\a"),
          absl::StrCat("long/", std::string(5000, 'x'))}) {
      all.push_back({method, absl::ZeroDuration()});
    }
  }
  return all;
}

// Calls of one method, as both sides count them.
struct Method {
  Behaviour behaviour;
  rpc::MethodStats* server;
  rpc::MethodStats* client;
  int calls = 0;
};

// Members are destroyed in reverse order.
struct Application {
  rpc::MethodTable table;
  std::vector<Method> methods;
  std::unique_ptr<rpc::Server> server;
  std::unique_ptr<rpc::Client> client;
  TaskGroup tasks;
};

// The first byte of a request says which method it is of.
Task<void> Answer(Application& application, rpc::ServerCall call) {
  Method& method = application.methods[call.request().ToString()[0] % application.methods.size()];
  const int64_t begin_ns = call.loop().clock().NowNs();
  method.server->OnBegin(call.request().size());
  // Most take their time and a few take far longer, as programs do.
  const bool slow = ++method.calls % 50 == 0;
  const absl::Duration takes = slow ? absl::Milliseconds(8) : method.behaviour.takes;
  if (takes > absl::ZeroDuration()) co_await call.loop().Sleep(takes);
  const bool fails =
      method.behaviour.fails_every > 0 && method.calls % method.behaviour.fails_every == 0;
  method.server->OnEnd(fails ? method.behaviour.with : absl::StatusCode::kOk,
                       call.loop().clock().NowNs() - begin_ns, call.request().size());
  (void)call.Reply(std::move(call.request()));
}

Task<void> CallForEver(Loop& loop, Application& application, Peer server, uint8_t index) {
  Method& method = application.methods[index];
  const std::vector<uint8_t> request(64, index);
  while (true) {
    const int64_t begin_ns = loop.clock().NowNs();
    method.client->OnBegin(request.size());
    const absl::StatusOr<BufferChain> reply = co_await application.client->Call(server, request);
    method.client->OnEnd(reply.status().code(), loop.clock().NowNs() - begin_ns, request.size());
    co_await loop.Sleep(absl::Milliseconds(1 + index));
  }
}

// What a server tells whose clients chose all that they may.
void DescribeHostile(size_t, JsonWriter& json) {
  const std::string name = "<img src=x onerror=\"document.title='owned'\">";
  json.BeginObject();
  json.Field("kind", "server");
  json.Field("address", absl::StrCat("<b>address</b>", name));
  json.Field("sessions_total", 1);
  json.Key("sessions").BeginArray();
  json.BeginObject();
  json.Field("session", 1);
  json.Field("peer", absl::StrCat("<script>document.title='owned'</script>\x1b[2J", name));
  json.Field("state", name);
  json.EndObject();
  json.EndArray();
  json.Key("stats").BeginObject();
  json.Field(name, 7);
  json.EndObject();
  json.EndObject();
}

absl::StatusOr<std::shared_ptr<void>> SetUpPort(Worker& worker) {
  auto port = worker.OpenDatagramPort();
  if (!port.ok()) return port.status();
  worker.Show(**port);
  return std::shared_ptr<void>(*std::move(port));
}

absl::Status OpenServer(Worker& worker, Application& application) {
  auto options = rpc::ServerOptions::From(worker.config());
  if (!options.ok()) return options.status();
  auto address = Address::Parse(worker.config().rpc().listen());
  if (!address.ok()) return address.status();
  auto port = worker.OpenDatagramPort(*address);
  if (!port.ok()) return port.status();
  auto server = rpc::Server::Create(
      worker.loop(), *std::move(port), *options,
      [&application](rpc::ServerCall call) { return Answer(application, std::move(call)); });
  if (!server.ok()) return server.status();
  application.server = *std::move(server);
  return absl::OkStatus();
}

absl::Status OpenClient(Worker& worker, Application& application) {
  auto options = rpc::ClientOptions::From(worker.config());
  if (!options.ok()) return options.status();
  auto port = worker.OpenDatagramPort();
  if (!port.ok()) return port.status();
  auto client = rpc::Client::Create(worker.loop(), *std::move(port), *options);
  if (!client.ok()) return client.status();
  application.client = *std::move(client);
  auto server = application.client->Resolve(application.server->port().local_address());
  if (!server.ok()) return server.status();
  for (size_t i = 0; i < application.methods.size(); ++i) {
    application.tasks.Spawn(
        CallForEver(worker.loop(), application, *server, static_cast<uint8_t>(i)));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<void>> SetUp(Worker& worker) {
  if (absl::GetFlag(FLAGS_no_rpc)) return SetUpPort(worker);
  auto application = std::make_shared<Application>();
  for (Behaviour& behaviour : Behaviours()) {
    rpc::MethodStats& server = application->table.Of(rpc::Side::kServer, behaviour.method);
    rpc::MethodStats& client = application->table.Of(rpc::Side::kClient, behaviour.method);
    application->methods.push_back({std::move(behaviour), &server, &client});
  }
  absl::Status status = OpenServer(worker, *application);
  if (status.ok()) status = OpenClient(worker, *application);
  if (!status.ok()) return status;
  worker.Show(application->server->port());
  worker.Show(application->client->port());
  worker.Show("rpc", rpc::Description(*application->server));
  worker.Show("rpc", rpc::Description(*application->client));
  worker.Show("rpc", rpc::Description(application->table));
  if (absl::GetFlag(FLAGS_hostile)) worker.Show("rpc", &DescribeHostile);
  return application;
}

absl::Status Run() {
  auto config = config::FromFlags();
  if (!config.ok()) return config.status();
  auto host = Host::Open(*config);
  if (!host.ok()) return host.status();
  std::printf("http://%s\n", (*host)->http_address().c_str());
  std::fflush(stdout);
  return (*host)->Run(&SetUp);
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  const absl::Status status = weft::Run();
  if (status.ok()) return 0;
  std::fprintf(stderr, "busy_program: %s\n", std::string(status.message()).c_str());
  return 1;
}
