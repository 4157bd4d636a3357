// SPDX-License-Identifier: Apache-2.0
//
// weft rdma devices and check: what RDMA there is on this machine, what of it is usable, and what
// is to be mended.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "weft/cli/command.h"
#include "weft/cli/flags.h"
#include "weft/cli/table.h"
#include "weft/config/config.h"
#include "weft/config/loader.h"
#include "weft/core/json_writer.h"
#include "weft/core/suggest.h"
#include "weft/transports/address.h"
#include "weft/transports/rdma/device.h"
#include "weft/transports/rdma/rdma_transport.h"

namespace weft::cli {
namespace {

using rdma::DeviceInfo;
using rdma::GidEntry;
using rdma::GidType;
using rdma::PortInfo;

using Devices = std::vector<DeviceInfo>;

// All, or the one named `only`.
absl::StatusOr<Devices> FindDevices(const std::string& only) {
  auto devices = rdma::ListDevices();
  if (!devices.ok() || only.empty()) return devices;
  std::vector<std::string> known;
  for (const DeviceInfo& device : *devices) known.push_back(device.name);
  std::erase_if(*devices, [&only](const DeviceInfo& device) { return device.name != only; });
  if (!devices->empty()) return devices;
  return absl::NotFoundError(absl::StrCat("no RDMA device '", only, "'", Suggest(only, known)));
}

const char* LinkOf(const PortInfo& port) { return port.is_infiniband ? "InfiniBand" : "Ethernet"; }

void PrintDevices(const Devices& devices) {
  std::vector<std::vector<std::string>> rows = {
      {"DEVICE", "PORT", "STATE", "LINK", "MTU", "GID", "TYPE", "ADDRESS", "INTERFACE"}};
  for (const DeviceInfo& device : devices) {
    if (!device.status.ok()) {
      rows.push_back({device.name, "-", "unusable", "-", "-", "-", "-", "-", "-"});
    }
    for (const PortInfo& port : device.ports) {
      std::vector<std::string> row = {device.name, absl::StrCat(port.number),
                                      std::string(rdma::StateName(port.state)), LinkOf(port),
                                      absl::StrCat(port.mtu_bytes)};
      if (port.gids.empty()) {
        row.insert(row.end(), {"-", "-", "-", "-"});
        rows.push_back(row);
      }
      for (const GidEntry& gid : port.gids) {
        std::vector<std::string> line = row;
        line.push_back(absl::StrCat(gid.index));
        line.emplace_back(rdma::GidTypeName(gid.type));
        line.push_back(rdma::GidText(gid.gid));
        line.push_back(gid.interface.empty() ? "-" : gid.interface);
        rows.push_back(std::move(line));
      }
    }
  }
  PrintTable(rows);
  for (const DeviceInfo& device : devices) {
    if (device.status.ok()) continue;
    std::printf("%s: %s\n", device.name.c_str(), std::string(device.status.message()).c_str());
  }
}

void WriteGid(JsonWriter& json, const GidEntry& gid) {
  json.BeginObject();
  json.Field("index", gid.index);
  json.Field("type", rdma::GidTypeName(gid.type));
  json.Field("address", rdma::GidText(gid.gid));
  json.Field("interface", gid.interface);
  json.EndObject();
}

void PrintDevicesJson(const Devices& devices) {
  JsonWriter json;
  json.BeginObject();
  json.Key("devices").BeginArray();
  for (const DeviceInfo& device : devices) {
    json.BeginObject();
    json.Field("name", device.name);
    json.Field("node", device.node);
    json.Field("software", device.is_software);
    json.Field("usable", device.status.ok());
    if (!device.status.ok()) json.Field("why_not", device.status.message());
    json.Key("ports").BeginArray();
    for (const PortInfo& port : device.ports) {
      json.BeginObject();
      json.Field("port", static_cast<uint32_t>(port.number));
      json.Field("state", rdma::StateName(port.state));
      json.Field("link_layer", LinkOf(port));
      json.Field("mtu_bytes", port.mtu_bytes);
      json.Field("lid", port.lid);
      json.Key("gids").BeginArray();
      for (const GidEntry& gid : port.gids) WriteGid(json, gid);
      json.EndArray();
      json.EndObject();
    }
    json.EndArray();
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
  std::printf("%s\n", json.text().c_str());
}

// ---- check ----

// One requirement: met, or with what to do.
struct Check {
  std::string name;
  bool ok = true;
  std::string text;
};

std::string Mebibytes(size_t bytes) { return absl::StrCat((bytes + (1 << 20) - 1) >> 20, " MiB"); }

// A program opens a port of datagrams a worker.
Check CheckLockedMemory(const config::Config& config) {
  constexpr size_t kMtuBytesMax = 4096;
  const size_t limit = rdma::LockedMemoryBytesMax();
  const size_t wanted =
      config.host().workers() * rdma::LockedBytesOfPort(config.transport(), kMtuBytesMax);
  Check check{"locked memory", limit >= wanted, ""};
  check.text = absl::StrCat(
      limit == SIZE_MAX ? "not limited" : absl::StrCat("limited to ", Mebibytes(limit)),
      "; with these settings a program locks ", Mebibytes(wanted),
      ", and what it registers as remote memory");
  if (!check.ok) {
    absl::StrAppend(&check.text, "; ", rdma::LockedMemoryCure(),
                    "; or ask for less (transport.buffers, rdma.bulk_count)");
  }
  return check;
}

// Whether the only device with a port at hand can be used, by asking as a transport does.
Check CheckPort(config::Rdma settings, const DeviceInfo& device, const PortInfo& port,
                std::vector<std::string>* usable) {
  settings.set_device(device.name);
  settings.set_port(port.number);
  const auto choice = rdma::ChoosePort(absl::MakeConstSpan(&device, 1), settings, Address());
  Check check{absl::StrCat(device.name, " port ", port.number), choice.ok(), ""};
  if (!choice.ok()) {
    check.text = std::string(choice.status().message());
    return check;
  }
  const std::string address = rdma::GidText(choice->gid.gid);
  check.text = absl::StrCat(rdma::StateName(port.state), ", MTU ", port.mtu_bytes, ", GID ",
                            choice->gid.index, " (", rdma::GidTypeName(choice->gid.type), ", ",
                            address, ")");
  usable->push_back(absl::StrCat(device.name, " port ", port.number, " at ", address));
  return check;
}

// In the order in which things are to be mended. Devices that cannot be opened hold nothing up if
// there is another one.
std::vector<Check> CheckAll(const config::Config& config, const std::string& only,
                            std::vector<std::string>* usable) {
  std::vector<Check> checks;
  const auto devices = FindDevices(only);
  if (!devices.ok()) {
    checks.push_back({"devices", false, std::string(devices.status().message())});
    return checks;
  }
  checks.push_back({"devices", true,
                    absl::StrJoin(*devices, ", ", [](std::string* out, const DeviceInfo& device) {
                      absl::StrAppend(out, device.name, device.is_software ? " (software)" : "");
                    })});
  for (const DeviceInfo& device : *devices) {
    checks.push_back({device.name, device.status.ok(),
                      device.status.ok() ? absl::StrCat("opens (", device.node, ")")
                                         : std::string(device.status.message())});
  }
  checks.push_back(CheckLockedMemory(config));
  const bool memory = checks.back().ok;
  for (const DeviceInfo& device : *devices) {
    for (const PortInfo& port : device.ports) {
      checks.push_back(CheckPort(config.transport().rdma(), device, port, usable));
    }
  }
  if (!memory) usable->clear();
  return checks;
}

void PrintChecksJson(const std::vector<Check>& checks, const std::vector<std::string>& usable) {
  JsonWriter json;
  json.BeginObject();
  json.Field("ok", !usable.empty());
  json.Key("usable").BeginArray();
  for (const std::string& port : usable) json.Value(port);
  json.EndArray();
  json.Key("checks").BeginArray();
  for (const Check& check : checks) {
    json.BeginObject();
    json.Field("check", check.name);
    json.Field("ok", check.ok);
    json.Field("text", check.text);
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
  std::printf("%s\n", json.text().c_str());
}

}  // namespace

int RdmaDevices(Arguments arguments) {
  std::string only;
  bool as_json = false;
  Flags flags("rdma devices",
              "Lists the RDMA devices of this machine, their ports and the addresses (GIDs) that\n"
              "an rdma transport may be opened at. Exit status 1 if there is none.");
  flags.Text("device", "NAME", "only this one", &only);
  flags.Bool("json", "for programs", &as_json);
  if (std::optional<int> status = flags.Parse(arguments)) return *status;
  const auto devices = FindDevices(only);
  if (!devices.ok()) {
    flags.Complain(devices.status().message());
    return kExitFailed;
  }
  if (as_json) {
    PrintDevicesJson(*devices);
  } else {
    PrintDevices(*devices);
  }
  return kExitOk;
}

int RdmaCheck(Arguments arguments) {
  std::string file, only;
  bool as_json = false;
  Flags flags(
      "rdma check",
      "Says whether an rdma transport can be opened on this machine by this user, and what\n"
      "is to be mended, in order. Exit status 1 if no port is usable.");
  flags.Text("config", "FILE",
             "whose settings are to do; without it, the file that WEFT_CONFIG names", &file);
  flags.Text("device", "NAME", "only this one; without it, the configuration's, or all", &only);
  flags.Bool("json", "for programs", &as_json);
  if (std::optional<int> status = flags.Parse(arguments)) return *status;
  const absl::StatusOr<config::Config> config = config::LoadChosen(file, "rdma");
  if (!config.ok()) return flags.UsageError(config.status().message());
  if (only.empty()) only = config->transport().rdma().device();
  std::vector<std::string> usable;
  const std::vector<Check> checks = CheckAll(*config, only, &usable);
  if (as_json) {
    PrintChecksJson(checks, usable);
  } else {
    for (const Check& check : checks) {
      std::printf("%-5s %s: %s\n", check.ok ? "ok" : "MEND", check.name.c_str(),
                  check.text.c_str());
    }
    std::printf("%s\n", usable.empty()
                            ? "no port is usable"
                            : absl::StrCat("usable: ", absl::StrJoin(usable, ", ")).c_str());
  }
  return usable.empty() ? kExitFailed : kExitOk;
}

}  // namespace weft::cli
