// SPDX-License-Identifier: Apache-2.0
//
// weft router show, add, drain, remove: a running router, and which servers it has.

#include <cstdint>
#include <cstdio>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "weft/cli/command.h"
#include "weft/cli/endpoint.h"
#include "weft/cli/flags.h"
#include "weft/cli/host_json.h"
#include "weft/cli/table.h"
#include "weft/host/http_client.h"
#include "weft/transports/address.h"

namespace weft::cli {
namespace {

std::string Tenths(double number) { return absl::StrFormat("%.1f", number); }

// What the router does not say is not known to it.
std::string OrDash(const JsonObject& object, const char* name, std::string (*print)(double)) {
  return object.fields().contains(name) ? print(NumberOf(object, name)) : "-";
}

void PrintServers(const std::string& worker, const JsonObject& router,
                  std::vector<std::vector<std::string>>* rows) {
  for (const auto& value : ListOf(router, "servers").values()) {
    const JsonObject& server = value.struct_value();
    const std::string origin = TextOf(server, "origin");
    rows->push_back({worker, Printable(TextOf(server, "address")), TextOf(server, "state"),
                     origin.empty() ? "-" : origin, Whole(NumberOf(server, "slots")),
                     Whole(NumberOf(server, "weight")), Whole(NumberOf(server, "outstanding")),
                     Whole(NumberOf(server, "requests_per_s")),
                     OrDash(server, "service_us", Tenths), Whole(NumberOf(server, "forwarded")),
                     Whole(NumberOf(server, "feedbacks")), OrDash(server, "silent_ms", Whole)});
  }
}

void PrintTenants(const std::string& worker, const JsonObject& queue,
                  std::vector<std::vector<std::string>>* rows) {
  for (const auto& value : ListOf(queue, "tenants").values()) {
    const JsonObject& tenant = value.struct_value();
    rows->push_back({worker, Printable(TextOf(tenant, "name")), Whole(NumberOf(tenant, "weight")),
                     Whole(NumberOf(tenant, "length"))});
  }
}

// As many servers as a page shows at most (host/worker_page.h).
constexpr char kPage[] = "/router?limit=1000";

void PrintRouter(const std::string& worker, const JsonObject& router) {
  const JsonObject& queue = ObjectOf(router, "queue");
  std::printf("worker %s: %s, control at %s; policy %s, %s\n", worker.c_str(),
              Printable(TextOf(router, "address")).c_str(),
              Printable(TextOf(router, "control")).c_str(), TextOf(router, "policy").c_str(),
              TextOf(router, "forwarding").c_str());
  std::printf("  %s requests at servers, %s of at most %s wait; waits p50 %s us, p99 %s us\n",
              Whole(NumberOf(router, "outstanding")).c_str(),
              Whole(NumberOf(queue, "length")).c_str(), Whole(NumberOf(queue, "max")).c_str(),
              Tenths(NumberOf(queue, "wait_p50_us")).c_str(),
              Tenths(NumberOf(queue, "wait_p99_us")).c_str());
  const double shown = ListOf(router, "servers").values_size();
  if (const double total = NumberOf(router, "servers_total"); shown < total) {
    std::printf("  %s of its %s servers are shown\n", Whole(shown).c_str(), Whole(total).c_str());
  }
}

// What is not zero.
void AddCounters(const JsonObject& router, std::map<std::string, std::string>* counters) {
  for (const auto& [name, value] : ObjectOf(router, "stats").fields()) {
    if (value.number_value() == 0) continue;
    std::string& text = (*counters)[name];
    absl::StrAppend(&text, text.empty() ? "" : " + ", Whole(value.number_value()));
  }
}

void PrintRouters(const std::vector<JsonObject>& workers) {
  std::vector<std::vector<std::string>> servers = {
      {"WORKER", "SERVER", "STATE", "ORIGIN", "SLOTS", "WEIGHT", "OUTSTANDING", "REQUESTS/S",
       "SERVICE US", "FORWARDED", "FEEDBACKS", "SILENT MS"}};
  std::vector<std::vector<std::string>> tenants = {{"WORKER", "TENANT", "WEIGHT", "WAITING"}};
  std::map<std::string, std::string> counters;
  for (const JsonObject& worker : workers) {
    const std::string number = Whole(NumberOf(worker, "worker"));
    for (const auto& item : ListOf(worker, "items").values()) {
      const JsonObject& router = item.struct_value();
      PrintRouter(number, router);
      PrintServers(number, router, &servers);
      PrintTenants(number, ObjectOf(router, "queue"), &tenants);
      AddCounters(router, &counters);
    }
  }
  std::printf("\n");
  PrintTable(servers);
  if (tenants.size() > 1) {
    std::printf("\n");
    PrintTable(tenants);
  }
  std::vector<std::vector<std::string>> counted = {{"COUNTER", "OF EACH WORKER"}};
  for (const auto& [name, value] : counters) counted.push_back({name, value});
  std::printf("\n");
  PrintTable(counted);
}

// The name of the Unix socket that takes commands for the host at `http`.
absl::StatusOr<std::string> FindControl(const std::string& http) {
  const absl::StatusOr<std::string> text = Ask(http, "/host");
  if (!text.ok()) return text.status();
  const auto host = ParseJson(*text);
  if (!host.ok()) return host.status();
  std::string control = TextOf(host->struct_value(), "control");
  if (control.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(http, ": this program takes no commands"));
  }
  return control;
}

absl::StatusOr<std::string> Command(const std::string& http, const std::string& target) {
  const absl::StatusOr<std::string> control = FindControl(http);
  if (!control.ok()) return control.status();
  const absl::StatusOr<HttpReply> reply = HttpPost(*control, target);
  if (!reply.ok()) {
    return absl::Status(reply.status().code(),
                        absl::StrCat(reply.status().message(),
                                     "; commands are taken on the router's machine only"));
  }
  if (reply->status == 200) return reply->body;
  if (reply->status == 403) {
    return absl::PermissionDeniedError(
        absl::StrCat(http, ": only root and the user that runs the router may change it"));
  }
  if (absl::StartsWith(reply->body, "404 ")) {
    return absl::FailedPreconditionError(absl::StrCat(http, ": this program is no router"));
  }
  std::string said = reply->body;
  while (absl::EndsWith(said, "\n")) said.pop_back();
  return absl::FailedPreconditionError(said);
}

// A command about one server. `declare` adds options, `query` what they say.
struct Change {
  const char* name;  // "drain"
  const char* about;
  uint64_t slots = 0;
  uint64_t weight = 1;
  bool with_options = false;
};

int Execute(Change change, Arguments arguments) {
  std::string http;
  std::string server;
  Flags flags(absl::StrCat("router ", change.name), change.about);
  flags.Argument("HOST:PORT", "metrics.listen of the router; a bare port is one of 127.0.0.1",
                 &http);
  flags.Argument("ADDRESS", "the server, such as 10.0.0.2:8000", &server);
  if (change.with_options) {
    flags.Number("slots", "N", "requests at it at a time, with jbsq; 0: as the router says",
                 &change.slots, 0, UINT16_MAX);
    flags.Number("weight", "N", "its part, with weighted", &change.weight, 1, UINT16_MAX);
  }
  if (std::optional<int> status = flags.Parse(arguments)) return *status;
  if (const auto address = Address::Parse(server); !address.ok()) {
    return flags.UsageError(address.status().message());
  }
  std::string target = absl::StrCat("/router/", change.name, "?address=", HttpEncode(server));
  if (change.with_options) {
    absl::StrAppend(&target, "&slots=", change.slots, "&weight=", change.weight);
  }
  const absl::StatusOr<std::string> said = Command(http, target);
  if (!said.ok()) {
    flags.Complain(said.status().message());
    return ExitStatus(said.status());
  }
  std::fputs(said->c_str(), stdout);
  return kExitOk;
}

}  // namespace

int RouterShow(Arguments arguments) {
  Flags flags("router show",
              "Shows a running router: its servers, what waits and how long it did. Requests a\n"
              "second and the time that servers take for one are those of the last second. Exit\n"
              "status 1 if a worker does not answer.");
  return ShowWorkers(
      flags, arguments, [] { return kPage; },
      [](const std::vector<JsonObject>& workers) { PrintRouters(workers); });
}

int RouterAdd(Arguments arguments) {
  return Execute({.name = "add",
                  .about = "Has a running router send requests to one more server, until its end.",
                  .with_options = true},
                 arguments);
}

int RouterDrain(Arguments arguments) {
  return Execute({.name = "drain",
                  .about = "Has a running router send no more requests to a server, and forget it\n"
                           "when those that it has are answered."},
                 arguments);
}

int RouterRemove(Arguments arguments) {
  return Execute({.name = "remove",
                  .about = "Has a running router forget a server at once, whatever it has to do."},
                 arguments);
}

}  // namespace weft::cli
