// SPDX-License-Identifier: Apache-2.0
#include "weft/cli/router_config.h"

#include <cstddef>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "weft/config/loader.h"
#include "weft/config/settings.h"
#include "weft/config/validate.h"
#include "weft/router/config_check.h"
#include "weft/transports/address.h"
#include "weft/transports/registry.h"

namespace weft::cli {
namespace {

bool NamesTransport(const config::Config& config) {
  return config.transport().has_name() ||
         config.transport().settings_case() != config::Transport::SETTINGS_NOT_SET;
}

absl::Status Overlay(const RouterFlags& flags, config::Config* config) {
  config::Router& router = *config->mutable_router();
  if (!flags.listen.empty()) router.set_listen(flags.listen);
  if (!flags.control.empty()) router.set_control(flags.control);
  if (!flags.policy.empty()) router.set_policy(flags.policy);
  if (flags.slots != 0) router.set_slots(static_cast<uint32_t>(flags.slots));
  if (flags.join) router.set_join(true);
  if (flags.keep_source) router.set_forwarding(config::Router::KEEP_SOURCE);
  if (flags.plaintext) {
    if (router.has_control_security() && !router.control_security().has_plaintext()) {
      return absl::InvalidArgumentError(
          "--plaintext, but the configuration has keys (router.control_security); give one of the "
          "two");
    }
    router.mutable_control_security()->mutable_plaintext();
  }
  if (!flags.metrics.empty()) config->mutable_metrics()->set_listen(flags.metrics);
  if (flags.servers.empty()) return absl::OkStatus();
  auto servers = router::ParseServers(flags.servers);
  if (!servers.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("--servers: ", servers.status().message()));
  }
  router.clear_servers();
  for (config::RouterServer& server : *servers) *router.add_servers() = std::move(server);
  return absl::OkStatus();
}

// `problem`, named by the option that caused it, if one did.
std::string Describe(const config::Problem& problem, const RouterFlags& flags) {
  constexpr absl::string_view kServer = "router.servers[";
  size_t server = 0;
  if (!flags.servers.empty() && absl::StartsWith(problem.field, kServer)) {
    const absl::string_view rest = absl::string_view(problem.field).substr(kServer.size());
    static_cast<void>(absl::SimpleAtoi(rest.substr(0, rest.find(']')), &server));
    return absl::StrCat("--servers: ", router::NameEntry(flags.servers, server), ": ",
                        problem.what);
  }
  const std::tuple<const char*, const char*, const std::string&> options[] = {
      {"router.listen", "--listen", flags.listen},
      {"router.control", "--control", flags.control},
      {"router.policy", "--policy", flags.policy},
      {"metrics.listen", "--metrics", flags.metrics}};
  for (const auto& [field, option, value] : options) {
    if (!value.empty() && problem.field == field) return absl::StrCat(option, ": ", problem.what);
  }
  return absl::StrCat(problem.field, ": ", problem.what);
}

// What is wrong only now that both have been put together.
absl::Status Check(const RouterFlags& flags, const config::Config& config) {
  if (config.router().listen().empty()) {
    return absl::InvalidArgumentError(
        "nothing says where to listen; give --listen ADDRESS, or --config with `router { listen: "
        "\"10.0.0.1:8000\" }`");
  }
  std::vector<config::Problem> problems = config::FindProblems(config, {});
  if (problems.empty()) problems = router::FindProblems(config);
  if (problems.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(Describe(problems.front(), flags));
}

// Kernel sockets send under clients' addresses if they are told so when they are opened.
void AllowForeignSource(config::Config* config) {
  config::Transport& transport = *config->mutable_transport();
  if (transport.name() != "linux" || config->has_netstack()) return;
  transport.mutable_linux()->set_foreign_source(true);
}

}  // namespace

void RouterFlags::Declare(Flags& flags) {
  flags.Text("listen", "ADDRESS", "where clients send requests: 10.0.0.1:8000, shm:router",
             &listen);
  flags.Text("servers", "LIST",
             "who answers them: 10.0.0.2:8000:2,10.0.0.3:8000:4 (address, first\n"
             "                         port, number of ports; the last may be left out)",
             &servers);
  flags.Text("policy", "NAME", "who takes which: jbsq, jsq, random, ... (jbsq)", &policy);
  flags.Text("control", "ADDRESS",
             "where servers send FEEDBACK and JOIN; without it, port 9000 of the\n"
             "                         address of --listen",
             &control);
  flags.Number("slots", "N", "with jbsq, requests at a server at a time; 0: as configured, or 2",
               &slots, 0, UINT16_MAX);
  flags.Bool("join", "take servers that JOIN", &join);
  flags.Bool("keep-source",
             "send requests on under their clients' addresses, as servers of the\n"
             "                         original need it; over kernel sockets with CAP_NET_RAW only",
             &keep_source);
  flags.Text("metrics", "HOST:PORT", "serve metrics, pages and weft router show there", &metrics);
  flags.Config(&config, &transport, &plaintext);
}

absl::StatusOr<config::Config> ChooseRouterConfig(const RouterFlags& flags) {
  absl::StatusOr<config::Config> config =
      config::LoadChosen(flags.config, flags.transport, flags.plaintext, &router::FindProblems);
  if (!config.ok()) return config.status();
  if (config->has_security() && !config->security().has_plaintext()) {
    return absl::InvalidArgumentError(
        "security: a router must read the headers of requests, which are plain therefore; remove "
        "the section. FEEDBACK and JOIN are protected by router.control_security; where requests "
        "must be protected too, let clients choose servers themselves (rpc.balancer)");
  }
  if (absl::Status status = Overlay(flags, &*config); !status.ok()) return status;
  if (absl::Status status = Check(flags, *config); !status.ok()) return status;
  if (!NamesTransport(*config)) {
    const absl::StatusOr<Address> listen = Address::Parse(config->router().listen());
    const TransportPlugin* plugin = FindTransportFor(listen->kind());  // Check() has parsed it
    if (plugin != nullptr) config::SelectTransport(plugin->name, config->mutable_transport());
  }
  if (flags.keep_source) AllowForeignSource(&*config);
  const TransportPlugin* plugin = FindTransport(config->transport().name());
  if (plugin != nullptr && plugin->capabilities.virtual_time) {
    return absl::InvalidArgumentError(
        absl::StrCat("a network of transport '", plugin->name,
                     "' exists only within one process, which runs clients, router and servers; "
                     "'bazel run //examples:routed_echo -- --transport sim' shows it"));
  }
  return config;
}

}  // namespace weft::cli
