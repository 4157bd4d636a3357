// SPDX-License-Identifier: Apache-2.0

#include <cstddef>
#include <cstdio>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "weft/cli/command.h"
#include "weft/cli/flags.h"
#include "weft/cli/table.h"
#include "weft/core/json_writer.h"
#include "weft/core/suggest.h"
#include "weft/transports/registry.h"

namespace weft::cli {
namespace {

std::vector<std::string> AddressKinds(const TransportPlugin& plugin) {
  std::vector<std::string> names;
  for (const Address::Kind kind : plugin.address_kinds) names.emplace_back(KindName(kind));
  return names;
}

// "16 KiB".
std::string SizeText(size_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB"};
  size_t unit = 0;
  for (; bytes >= 1024 && bytes % 1024 == 0 && unit + 1 < std::size(kUnits); ++unit) bytes /= 1024;
  return absl::StrCat(bytes, " ", kUnits[unit]);
}

std::string Abilities(const Capabilities& can) {
  std::vector<std::string> abilities;
  if (can.reliable && can.ordered) abilities.push_back("reliable");
  if (can.can_wait) abilities.push_back("sleeps when idle");
  if (can.gather) abilities.push_back("gathers");
  if (can.keeps_foreign_source) abilities.push_back("keeps foreign source");
  if (can.checksum_offload) abilities.push_back("checksum offload");
  if (can.segmentation_offload) abilities.push_back("segmentation offload");
  if (can.bulk_min_bytes != 0) {
    abilities.push_back(absl::StrCat("fetches messages from ", SizeText(can.bulk_min_bytes)));
  }
  if (can.remote_memory) {
    abilities.push_back(absl::StrCat("memory operations to ", SizeText(can.max_operation_bytes)));
  }
  if (can.registers_any_memory) abilities.push_back("registers any memory");
  if (can.atomic_with_processor) abilities.push_back("atomic with processor");
  if (can.virtual_time) abilities.push_back("virtual time");
  return abilities.empty() ? "-" : absl::StrJoin(abilities, ", ");
}

void PrintText(const std::vector<const TransportPlugin*>& plugins) {
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "CONTRACTS", "ADDRESSES", "PAYLOAD", "ABILITIES", "AVAILABLE"}};
  for (const TransportPlugin* plugin : plugins) {
    const Capabilities& can = plugin->capabilities;
    const absl::Status here = plugin->probe();
    rows.push_back({plugin->name, ContractNames(can), absl::StrJoin(AddressKinds(*plugin), ", "),
                    can.datagrams ? absl::StrCat(can.max_payload_bytes, " B") : "-", Abilities(can),
                    here.ok() ? "yes" : absl::StrCat("no: ", here.message())});
  }
  PrintTable(rows);
}

void PrintJson(const std::vector<const TransportPlugin*>& plugins) {
  JsonWriter json;
  json.BeginObject();
  json.Key("transports").BeginArray();
  for (const TransportPlugin* plugin : plugins) {
    const Capabilities& can = plugin->capabilities;
    const absl::Status here = plugin->probe();
    json.BeginObject();
    json.Field("name", plugin->name);
    json.Field("summary", plugin->summary);
    json.Field("available", here.ok());
    if (!here.ok()) json.Field("why_not", here.message());
    json.Key("address_kinds").BeginArray();
    for (const std::string& kind : AddressKinds(*plugin)) json.Value(kind);
    json.EndArray();
    json.Field("datagrams", can.datagrams);
    json.Field("streams", can.streams);
    json.Field("frames", can.frames);
    json.Field("remote_memory", can.remote_memory);
    json.Field("max_payload_bytes", can.max_payload_bytes);
    json.Field("max_frame_bytes", can.max_frame_bytes);
    json.Field("reliable", can.reliable);
    json.Field("ordered", can.ordered);
    json.Field("headroom_bytes", can.headroom_bytes);
    json.Field("max_burst", can.max_burst);
    json.Field("gather", can.gather);
    json.Field("keeps_foreign_source", can.keeps_foreign_source);
    json.Field("can_wait", can.can_wait);
    json.Field("virtual_time", can.virtual_time);
    json.Field("checksum_offload", can.checksum_offload);
    json.Field("segmentation_offload", can.segmentation_offload);
    json.Field("bulk_min_bytes", can.bulk_min_bytes);
    json.Field("max_operation_bytes", can.max_operation_bytes);
    json.Field("registers_any_memory", can.registers_any_memory);
    json.Field("atomic_with_processor", can.atomic_with_processor);
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
  std::printf("%s\n", json.text().c_str());
}

}  // namespace

int Transports(Arguments arguments) {
  std::string only;
  bool as_json = false;
  Flags flags("transports", "Lists the transports of this program and what they can do here.");
  flags.Text("transport", "NAME", "only this one", &only);
  flags.Bool("json", "for programs", &as_json);
  if (std::optional<int> status = flags.Parse(arguments)) return *status;
  std::vector<const TransportPlugin*> plugins = RegisteredTransports();
  if (!only.empty()) {
    std::vector<std::string> known;
    for (const TransportPlugin* plugin : plugins) known.push_back(plugin->name);
    plugins = {FindTransport(only)};
    if (plugins[0] == nullptr) {
      return flags.UsageError(absl::StrCat("unknown transport '", only, "'", Suggest(only, known)));
    }
  }
  as_json ? PrintJson(plugins) : PrintText(plugins);
  return kExitOk;
}

}  // namespace weft::cli
