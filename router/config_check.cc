// SPDX-License-Identifier: Apache-2.0
#include "weft/router/config_check.h"

#include <cstdint>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "weft/core/suggest.h"
#include "weft/r2p2/policy/policy.h"
#include "weft/transports/address.h"

namespace weft::router {
namespace {

using config::Problem;
using Problems = std::vector<Problem>;

void Add(const std::string& field, std::string what, Problems* problems) {
  problems->push_back({.at = {}, .field = field, .what = std::move(what)});
}

// The address; kNone, and a problem, if it is none.
Address CheckAddress(const std::string& field, const std::string& text, Problems* problems) {
  absl::StatusOr<Address> address = Address::Parse(text);
  if (address.ok()) return *address;
  Add(field, std::string(address.status().message()), problems);
  return {};
}

// An IP address, whose port may be missing, or another one.
void CheckHost(const std::string& field, const std::string& text, Problems* problems) {
  const bool bare_v6 = text.find(':') != text.rfind(':') && !absl::StartsWith(text, "[");
  const auto host = Address::Parse(bare_v6 ? absl::StrCat("[", text, "]:0") : text + ":0");
  if (!host.ok() || !host->is_ip()) CheckAddress(field, text, problems);
}

// One that others send to.
Address CheckTarget(const std::string& field, const std::string& text, Problems* problems) {
  const Address address = CheckAddress(field, text, problems);
  if (!address.is_ip()) return address;
  if (address.port() == 0) Add(field, absl::StrCat("'", text, "' has no port; give one"), problems);
  if (address.ipv6() == Address::Ipv6Bytes{}) {
    Add(field, absl::StrCat("'", text, "' is where to listen; give the address of one machine"),
        problems);
  }
  return address;
}

void CheckPolicy(const std::string& field, const std::string& name, Problems* problems) {
  std::vector<std::string> known;
  for (const absl::string_view policy : r2p2::PolicyNames()) {
    if (policy == name) return;
    known.emplace_back(policy);
  }
  // The one that was probably meant, or all.
  const std::string meant = Suggest(name, known);
  const std::string others = absl::StrContains(meant, "did you")
                                 ? absl::StrCat(" There are ", absl::StrJoin(known, ", "))
                                 : "";
  Add(field, absl::StrCat("unknown policy '", name, "'", meant, others), problems);
}

bool SameKind(const Address& a, const Address& b) {
  return a.is_ip() ? b.is_ip() : a.kind() == b.kind();
}

// The port `offset` ports further.
Address Shifted(const Address& address, uint32_t offset) {
  if (!address.is_ip() || offset == 0) return address;
  const auto port = static_cast<uint16_t>(address.port() + offset);
  return address.kind() == Address::Kind::kIpv4
             ? Address::Ipv4(address.ipv4(), port)
             : Address::Ipv6(address.ipv6(), port, address.scope());
}

void CheckCount(const std::string& field, const config::RouterServer& server,
                const Address& address, Problems* problems) {
  if (server.count() == 1 || address.kind() == Address::Kind::kNone) return;
  if (!address.is_ip()) {
    Add(field,
        absl::StrCat(server.count(), ", but '", server.address(),
                     "' has no port numbers to count; give 1"),
        problems);
  } else if (address.port() + server.count() - 1 > UINT16_MAX) {
    Add(field,
        absl::StrCat(server.count(), " ports from ", address.port(),
                     " on are more than there are; give at most ", UINT16_MAX - address.port() + 1),
        problems);
  }
}

void CheckServers(const config::Router& router, const Address& listen, const Address& control,
                  Problems* problems) {
  absl::flat_hash_map<Address, int> seen;
  uint64_t servers = 0;
  for (int i = 0; i < router.servers_size(); ++i) {
    const config::RouterServer& server = router.servers(i);
    const std::string field = absl::StrCat("router.servers[", i, "]");
    const Address address = CheckTarget(field + ".address", server.address(), problems);
    CheckCount(field + ".count", server, address, problems);
    if (address.kind() == Address::Kind::kNone) continue;
    if (listen.kind() != Address::Kind::kNone && !SameKind(address, listen)) {
      Add(field + ".address",
          absl::StrCat("'", server.address(), "' cannot be reached from router.listen, '",
                       router.listen(), "'; give an address of the same kind"),
          problems);
    }
    servers += server.count();
    if (servers > router.servers_max()) {
      Add(field,
          absl::StrCat("is server number ", servers, ", but router.servers_max is ",
                       router.servers_max(), "; give fewer, or raise it"),
          problems);
      return;
    }
    const uint32_t ports = address.is_ip() ? server.count() : 1;
    for (uint32_t j = 0; j < ports; ++j) {
      const Address server = Shifted(address, j);
      if (server == listen || server == control) {
        Add(field + ".address",
            absl::StrCat(server.ToString(), " is where the router itself listens; give a server"),
            problems);
        break;
      }
      const auto [first, is_new] = seen.emplace(server, i);
      if (is_new) continue;
      Add(field,
          absl::StrCat(first->first.ToString(), " is in router.servers[", first->second,
                       "] already; give each server once"),
          problems);
      break;
    }
  }
}

// "10.1.0.0/16", or the beginning of a name: "shm:batch-".
bool IsClients(const std::string& text) {
  if (absl::StartsWith(text, "shm:") || absl::StartsWith(text, "sim:")) return text.size() <= 68;
  const size_t slash = text.find('/');
  const std::string host = text.substr(0, slash);
  const bool is_v6 = absl::StrContains(host, ':');
  const auto address = Address::Parse(is_v6 ? absl::StrCat("[", host, "]:0") : host + ":0");
  if (!address.ok() || host == "localhost") return false;
  if (slash == std::string::npos) return true;
  const std::string length = text.substr(slash + 1);
  uint32_t bits = 0;
  return !length.empty() && absl::ascii_isdigit(length[0]) && absl::SimpleAtoi(length, &bits) &&
         bits <= (is_v6 ? 128u : 32u);
}

void CheckTenants(const config::Router& router, Problems* problems) {
  absl::flat_hash_set<std::string> names;
  for (int i = 0; i < router.tenants_size(); ++i) {
    const config::Tenant& tenant = router.tenants(i);
    const std::string field = absl::StrCat("router.tenants[", i, "]");
    if (!names.insert(tenant.name()).second) {
      Add(field + ".name", absl::StrCat("there is a '", tenant.name(), "' already; give another"),
          problems);
    }
    for (int j = 0; j < tenant.clients_size(); ++j) {
      if (IsClients(tenant.clients(j))) continue;
      Add(absl::StrCat(field, ".clients[", j, "]"),
          absl::StrCat("'", tenant.clients(j),
                       "' says nobody; give \"10.1.0.0/16\", \"fd00:1::/32\" "
                       "or the beginning of names, \"shm:batch-\""),
          problems);
    }
  }
}

void CheckRouter(const config::Router& router, Problems* problems) {
  const Address listen = CheckAddress("router.listen", router.listen(), problems);
  Address control = DefaultControl(listen);
  if (!router.control().empty()) {
    control = CheckAddress("router.control", router.control(), problems);
    if (listen.kind() != Address::Kind::kNone && control.kind() != Address::Kind::kNone &&
        !SameKind(listen, control)) {
      Add("router.control",
          absl::StrCat("'", router.control(), "' is of another kind than router.listen, '",
                       router.listen(), "'; give one of the same"),
          problems);
    }
  }
  CheckPolicy("router.policy", router.policy(), problems);
  CheckServers(router, listen, control, problems);
  CheckTenants(router, problems);
}

void CheckRpc(const config::Rpc& rpc, Problems* problems) {
  const config::Routers& routers = rpc.router();
  for (int i = 0; i < routers.control_size(); ++i) {
    CheckTarget(absl::StrCat("rpc.router.control[", i, "]"), routers.control(i), problems);
  }
  if (!routers.address().empty()) {
    CheckTarget("rpc.router.address", routers.address(), problems);
  }
  for (int i = 0; i < routers.forwards_from_size(); ++i) {
    CheckHost(absl::StrCat("rpc.router.forwards_from[", i, "]"), routers.forwards_from(i),
              problems);
  }
  if (rpc.has_balancer()) CheckPolicy("rpc.balancer.policy", rpc.balancer().policy(), problems);
}

}  // namespace

std::vector<Problem> FindProblems(const config::Config& config) {
  Problems problems;
  if (config.has_router()) CheckRouter(config.router(), &problems);
  if (config.has_rpc()) CheckRpc(config.rpc(), &problems);
  return problems;
}

Address DefaultControl(const Address& listen) {
  switch (listen.kind()) {
    case Address::Kind::kIpv4:
      return Address::Ipv4(listen.ipv4(), kControlPort);
    case Address::Kind::kIpv6:
      return Address::Ipv6(listen.ipv6(), kControlPort, listen.scope());
    default:
      return listen;
  }
}

std::string NameEntry(absl::string_view list, size_t index) {
  size_t at = 1;  // of the entry's first character
  size_t i = 0;
  for (const absl::string_view entry : absl::StrSplit(list, ',')) {
    if (i++ == index) {
      return absl::StrCat("entry ", index + 1, ", at character ", at, ", '", entry, "'");
    }
    at += entry.size() + 1;
  }
  return absl::StrCat("entry ", index + 1);
}

absl::StatusOr<std::vector<config::RouterServer>> ParseServers(absl::string_view text) {
  std::vector<config::RouterServer> servers;
  for (const absl::string_view entry : absl::StrSplit(text, ',')) {
    const auto wrong = [&](absl::string_view why) {
      return absl::InvalidArgumentError(absl::StrCat(NameEntry(text, servers.size()), ": ", why));
    };
    config::RouterServer server;
    absl::string_view address = entry;
    // What follows the port. In an IPv6 address, colons are in brackets.
    const size_t host_end = absl::StartsWith(entry, "[") ? entry.find(']') : 0;
    const size_t port = entry.find(':', host_end == absl::string_view::npos ? 0 : host_end);
    const size_t count =
        port == absl::string_view::npos ? absl::string_view::npos : entry.find(':', port + 1);
    if (count != absl::string_view::npos) {
      address = entry.substr(0, count);
      uint32_t number = 0;
      if (!absl::SimpleAtoi(entry.substr(count + 1), &number) || number < 1 ||
          number > UINT16_MAX) {
        return wrong(
            absl::StrCat("'", entry.substr(count + 1), "' is no number of ports; give 1 to 65535"));
      }
      server.set_count(number);
    }
    if (address.empty()) return wrong("is empty; give ADDRESS:PORT or ADDRESS:PORT:COUNT");
    server.set_address(std::string(address));
    Problems problems;
    CheckCount("", server, CheckTarget("", server.address(), &problems), &problems);
    if (!problems.empty()) return wrong(problems.front().what);
    servers.push_back(std::move(server));
  }
  return servers;
}

}  // namespace weft::router
