// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/dpdk/machine.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace weft::dpdk {
namespace {

namespace fs = std::filesystem;

constexpr char kPciDevices[] = "/sys/bus/pci/devices";

std::string FirstLine(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::vector<fs::path> Entries(const fs::path& directory) {
  std::error_code error;
  std::vector<fs::path> entries;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, error)) {
    entries.push_back(entry.path());
  }
  std::sort(entries.begin(), entries.end());
  return entries;
}

// The last part of what the link points to; empty if there is none.
std::string LinkTarget(const fs::path& link) {
  std::error_code error;
  return fs::read_symlink(link, error).filename().string();
}

absl::Status CheckAccess(const std::string& address, const std::string& file) {
  if (access(file.c_str(), R_OK | W_OK) == 0) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat("this user may not open PCI device ", address,
                                                  ": run as root, or `chown $USER ", file, "`"));
}

}  // namespace

HugePages FindHugePages() {
  HugePages found;
  for (const fs::path& size : Entries("/sys/kernel/mm/hugepages")) {
    uint64_t page_kb = 0;
    uint64_t pages = 0;
    const std::string name = size.filename().string();
    absl::string_view digits = name;
    if (absl::ConsumePrefix(&digits, "hugepages-") && absl::ConsumeSuffix(&digits, "kB") &&
        absl::SimpleAtoi(digits, &page_kb) &&
        absl::SimpleAtoi(FirstLine(size / "free_hugepages"), &pages)) {
      found.free_mb += pages * page_kb / 1024;
    }
  }
  return found;
}

bool IsPciAddress(absl::string_view name) {
  // [domain:]bus:device.function, of which only the last is a single digit.
  const size_t dot = name.rfind('.');
  if (dot == absl::string_view::npos || dot + 2 != name.size()) return false;
  const auto is_hex = [](char c) { return absl::ascii_isxdigit(static_cast<unsigned char>(c)); };
  const absl::string_view front = name.substr(0, dot);
  const auto colons = std::count(front.begin(), front.end(), ':');
  return is_hex(name.back()) && (colons == 1 || colons == 2) &&
         std::all_of(front.begin(), front.end(), [&](char c) { return c == ':' || is_hex(c); });
}

std::string FullPciAddress(absl::string_view name) {
  if (!IsPciAddress(name)) return std::string(name);
  const bool has_domain = std::count(name.begin(), name.end(), ':') == 2;
  return absl::AsciiStrToLower(absl::StrCat(has_domain ? "" : "0000:", name));
}

std::vector<std::string> NetworkPciDevices() {
  std::vector<std::string> addresses;
  for (const fs::path& device : Entries(kPciDevices)) {
    if (absl::StartsWith(FirstLine(device / "class"), "0x02")) {
      addresses.push_back(device.filename().string());
    }
  }
  return addresses;
}

absl::Status CheckPciDevice(const std::string& address) {
  const fs::path device = fs::path(kPciDevices) / address;
  std::error_code error;
  if (!fs::exists(device, error)) {
    const std::vector<std::string> there = NetworkPciDevices();
    return absl::NotFoundError(absl::StrCat("there is no PCI device ", address,
                                            "; network devices of this machine are: ",
                                            there.empty() ? "none" : absl::StrJoin(there, ", ")));
  }
  const std::string driver = LinkTarget(device / "driver");
  if (driver == "vfio-pci") {
    return CheckAccess(address, absl::StrCat("/dev/vfio/", LinkTarget(device / "iommu_group")));
  }
  if (driver == "uio_pci_generic" || driver == "igb_uio") {
    for (const fs::path& uio : Entries(device / "uio")) {
      return CheckAccess(address, absl::StrCat("/dev/", uio.filename().string()));
    }
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "PCI device ", address, " belongs to ",
      driver.empty() ? "no driver" : absl::StrCat("the kernel's driver ", driver),
      ": bind it to one that DPDK can use with `dpdk-devbind.py --bind=vfio-pci ", address, "`"));
}

}  // namespace weft::dpdk
