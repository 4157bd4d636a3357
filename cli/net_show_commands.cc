// SPDX-License-Identifier: Apache-2.0
//
// weft net show, arp and stats: what the network stacks of a running host are and have seen.

#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "weft/cli/command.h"
#include "weft/cli/flags.h"
#include "weft/cli/host_json.h"
#include "weft/cli/table.h"

namespace weft::cli {
namespace {

void PrintList(const char* name, const std::vector<std::string>& items) {
  if (!items.empty()) std::printf("  %-10s %s\n", name, absl::StrJoin(items, ", ").c_str());
}

std::vector<std::string> Texts(const JsonObject& stack, const std::string& name) {
  std::vector<std::string> texts;
  for (const auto& value : ListOf(stack, name).values()) texts.push_back(value.string_value());
  return texts;
}

void PrintInterfaces(const std::vector<JsonObject>& stacks) {
  for (const JsonObject& stack : stacks) {
    const auto link = stack.fields().find("link_up");
    const bool up = link != stack.fields().end() && link->second.bool_value();
    const double vlan = NumberOf(stack, "vlan");
    std::printf("worker %s: %s queue %s, %s, MTU %s%s, link %s\n",
                Whole(NumberOf(stack, "worker")).c_str(), TextOf(stack, "device").c_str(),
                Whole(NumberOf(stack, "queue")).c_str(), TextOf(stack, "mac").c_str(),
                Whole(NumberOf(stack, "mtu")).c_str(),
                vlan > 0 ? absl::StrCat(", VLAN ", Whole(vlan)).c_str() : "", up ? "up" : "down");
    PrintList("addresses", Texts(stack, "addresses"));
    std::vector<std::string> routes;
    for (const auto& value : ListOf(stack, "routes").values()) {
      const std::string gateway = TextOf(value.struct_value(), "gateway");
      routes.push_back(absl::StrCat(TextOf(value.struct_value(), "destination"),
                                    gateway.empty() ? "" : " via ", gateway));
    }
    PrintList("routes", routes);
    PrintList("groups", Texts(stack, "groups"));
    std::vector<std::string> ports;
    for (const auto& value : ListOf(stack, "ports").values()) {
      const JsonObject& port = value.struct_value();
      ports.push_back(absl::StrCat(TextOf(port, "local"), " (", Whole(NumberOf(port, "received")),
                                   " received, ", Whole(NumberOf(port, "sent")), " sent)"));
    }
    PrintList("ports", ports);
  }
}

void PrintNeighbors(const std::vector<JsonObject>& stacks) {
  std::vector<std::vector<std::string>> rows = {
      {"WORKER", "ADDRESS", "MAC", "STATE", "AGE", "WAITING"}};
  for (const JsonObject& stack : stacks) {
    for (const auto& value : ListOf(stack, "neighbors").values()) {
      const JsonObject& neighbor = value.struct_value();
      rows.push_back({Whole(NumberOf(stack, "worker")), TextOf(neighbor, "address"),
                      TextOf(neighbor, "mac"), TextOf(neighbor, "state"),
                      absl::StrFormat("%.1f s", NumberOf(neighbor, "age_ms") / 1e3),
                      Whole(NumberOf(neighbor, "waiting_packets"))});
    }
  }
  PrintTable(rows);
}

// Of each counter, what each worker has. Those that nobody has are left out.
void PrintCounters(const std::vector<JsonObject>& stacks) {
  std::vector<std::vector<std::string>> rows = {{"COUNTER"}};
  std::map<std::string, std::vector<double>> counters;
  for (size_t i = 0; i < stacks.size(); ++i) {
    rows[0].push_back(absl::StrCat("WORKER ", Whole(NumberOf(stacks[i], "worker"))));
    for (const auto& [section, object] : ObjectOf(stacks[i], "stats").fields()) {
      for (const auto& [name, value] : object.struct_value().fields()) {
        if (value.number_value() == 0) continue;
        std::vector<double>& values = counters[absl::StrCat(section, ".", name)];
        values.resize(stacks.size());
        values[i] = value.number_value();
      }
    }
  }
  for (const auto& [name, values] : counters) {
    std::vector<std::string>& row = rows.emplace_back(std::vector<std::string>{name});
    for (const double value : values) row.push_back(Whole(value));
  }
  PrintTable(rows);
}

int ShowStacks(Flags& flags, Arguments arguments, void (*show)(const std::vector<JsonObject>&)) {
  return ShowWorkers(
      flags, arguments, [] { return "/net"; }, show);
}

}  // namespace

int NetShow(Arguments arguments) {
  Flags flags(
      "net show",
      "Shows the interfaces of weft's own network stack in a running host: addresses,\n"
      "routes, groups and ports of each worker. Exit status 1 if a worker does not answer.");
  return ShowStacks(flags, arguments, &PrintInterfaces);
}

int NetArp(Arguments arguments) {
  Flags flags("net arp",
              "Shows the neighbours that a running host's network stack knows, by ARP and by\n"
              "neighbour discovery. Exit status 1 if a worker does not answer.");
  return ShowStacks(flags, arguments, &PrintNeighbors);
}

int NetStats(Arguments arguments) {
  Flags flags("net stats",
              "Shows what a running host's network stack has counted, without what is zero.\n"
              "docs/netstack.md explains each. Exit status 1 if a worker does not answer.");
  return ShowStacks(flags, arguments, &PrintCounters);
}

}  // namespace weft::cli
