// SPDX-License-Identifier: Apache-2.0

#include "weft/config/validate.h"

#include <arpa/inet.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "weft/config/rule.pb.h"
#include "weft/config/settings.h"
#include "weft/core/cpu.h"

namespace weft::config {
namespace {

using google::protobuf::Any;
using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Collects problems with the place of the field that each is about.
class Report {
 public:
  explicit Report(const Locations& locations) : locations_(locations) {}

  void Add(const std::string& field, std::string what) {
    problems_.push_back({Find(locations_, field), field, std::move(what)});
  }
  std::vector<Problem> Take() { return std::move(problems_); }

 private:
  const Locations& locations_;
  std::vector<Problem> problems_;
};

bool IsPermissions(const std::string& text) {
  return !text.empty() && text.size() <= 4 &&
         text.find_first_not_of("01234567") == std::string::npos &&
         (text.size() < 4 || text[0] == '0');
}

// The host itself is for the resolver to judge.
bool IsHostPort(const std::string& text) {
  const size_t colon = text.rfind(':');
  const std::string port = text.substr(colon == std::string::npos ? 0 : colon + 1);
  unsigned number = 0;
  if (port.empty() || !absl::ascii_isdigit(port[0]) || !absl::SimpleAtoi(port, &number) ||
      number > 65535) {
    return false;
  }
  if (colon == std::string::npos) return true;
  const std::string host = text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  return bracketed || (!host.empty() && host.find_first_of(":[]") == std::string::npos);
}

// 32 or 128 for an IP address, 0 for what is none.
unsigned IpBits(const std::string& text) {
  uint8_t bytes[16];
  if (inet_pton(AF_INET, text.c_str(), bytes) == 1) return 32;
  return inet_pton(AF_INET6, text.c_str(), bytes) == 1 ? 128 : 0;
}

bool IsIpPrefix(const std::string& text) {
  const size_t slash = text.find('/');
  if (slash == std::string::npos) return false;
  const unsigned bits = IpBits(text.substr(0, slash));
  const std::string length = text.substr(slash + 1);
  unsigned number = 0;
  return bits != 0 && !length.empty() && absl::ascii_isdigit(length[0]) &&
         absl::SimpleAtoi(length, &number) && number <= bits;
}

bool IsMac(const std::string& text) {
  if (text.size() != 17) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool right = i % 3 == 2 ? text[i] == ':' : absl::ascii_isxdigit(text[i]);
    if (!right) return false;
  }
  return true;
}

// What is wrong with a text, or nothing.
std::string CheckText(const Rule& rule, const std::string& text) {
  if (rule.required() && text.empty()) return "is empty";
  if (!rule.has_form() || text.empty()) return "";
  switch (rule.form()) {
    case Rule::CORES:
      return ParseCoreList(text).ok() ? "" : absl::StrCat("'", text, "' is not a list of cores");
    case Rule::PERMISSIONS:
      return IsPermissions(text) ? "" : absl::StrCat("'", text, "' is not a mode");
    case Rule::HOST_PORT:
      return IsHostPort(text) ? "" : absl::StrCat("'", text, "' is not an address to listen at");
    case Rule::IP:
      return IpBits(text) != 0 ? "" : absl::StrCat("'", text, "' is not an IP address");
    case Rule::IP_PREFIX:
      return IsIpPrefix(text) ? "" : absl::StrCat("'", text, "' is not an address with a prefix");
    case Rule::MAC:
      return IsMac(text) ? "" : absl::StrCat("'", text, "' is not a MAC address");
  }
  return "";
}

// What is wrong with a number, or nothing. NaN is within no range.
template <typename T>
std::string CheckNumber(const Rule& rule, T value) {
  const double number = static_cast<double>(value);
  if ((rule.has_min() && !(number >= rule.min())) || (rule.has_max() && !(number <= rule.max()))) {
    return absl::StrCat(value, " is out of range");
  }
  if (rule.power_of_two() && std::exp2(std::ilogb(number)) != number) {
    return absl::StrCat(value, " is not a power of two");
  }
  return "";
}

// Checks one field that is present and not repeated.
std::string CheckValue(const Message& message, const FieldDescriptor& field, const Rule& rule) {
  const Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32:
      return CheckNumber(rule, reflection.GetUInt32(message, &field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return CheckNumber(rule, reflection.GetUInt64(message, &field));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return CheckNumber(rule, reflection.GetDouble(message, &field));
    case FieldDescriptor::CPPTYPE_STRING:
      return CheckText(rule, reflection.GetString(message, &field));
    default:
      return "";
  }
}

// Checks the rules of all fields of a message and of those within it.
void CheckRules(const Message& message, const std::string& path, Report* report) {
  const Descriptor& type = *message.GetDescriptor();
  const Reflection& reflection = *message.GetReflection();
  if (&type == Any::descriptor()) return;
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    const std::string name = Join(path, field.name());
    const Rule& rule = field.options().GetExtension(config::rule);
    if (field.is_repeated()) {
      for (int j = 0; j < reflection.FieldSize(message, &field); ++j) {
        const std::string item = absl::StrCat(name, "[", j, "]");
        if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
          CheckRules(reflection.GetRepeatedMessage(message, &field, j), item, report);
        } else if (rule.has_form()) {
          const std::string text = reflection.GetRepeatedString(message, &field, j);
          const std::string wrong = text.empty() ? "is empty" : CheckText(rule, text);
          if (!wrong.empty()) report->Add(item, absl::StrCat(wrong, "; ", WhatIsRight(field)));
        }
      }
    } else if (!reflection.HasField(message, &field)) {
      if (rule.required() && !field.has_default_value()) {
        report->Add(name, absl::StrCat("is missing; ", WhatIsRight(field)));
      }
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      CheckRules(reflection.GetMessage(message, &field), name, report);
    } else if (std::string wrong = CheckValue(message, field, rule); !wrong.empty()) {
      report->Add(name, absl::StrCat(wrong, "; ", WhatIsRight(field)));
    }
  }
}

void CheckTransport(const Transport& transport, Report* report) {
  const auto* settings = Transport::descriptor()->FindOneofByName("settings");
  const FieldDescriptor* given =
      transport.GetReflection()->GetOneofFieldDescriptor(transport, settings);
  if (given != nullptr && given != SettingsOf(transport.name())) {
    const std::string change =
        transport.has_plugin() ? "" : absl::StrCat(" to '", given->name(), "'");
    report->Add(absl::StrCat("transport.", given->name()),
                absl::StrCat("settings of '", given->name(), "', but transport.name is '",
                             transport.name(), "'; remove them or change transport.name", change));
  }
  if (transport.has_plugin() && FindType(transport.plugin().type_url()) == nullptr) {
    report->Add("transport.plugin", UnknownType(transport.plugin().type_url()));
  }
  if (transport.has_shm() &&
      transport.shm().max_message_bytes() > transport.shm().ring_bytes() / 2) {
    report->Add("transport.shm.max_message_bytes",
                absl::StrCat(transport.shm().max_message_bytes(),
                             " does not fit; give at most half of ring_bytes, which is ",
                             transport.shm().ring_bytes()));
  }
  for (int i = 0; i < transport.decorators_size(); ++i) {
    if (transport.decorators(i).kind_case() == Decorator::KIND_NOT_SET) {
      report->Add(absl::StrCat("transport.decorators[", i, "]"),
                  "is empty; give one of fault, trace, pcap");
    }
  }
}

void CheckHost(const Config& config, Report* report) {
  const Host& host = config.host();
  const auto cores = ParseCoreList(host.cores());
  if (cores.ok() && !cores->empty() && cores->size() < host.workers()) {
    report->Add("host.cores", absl::StrCat("names ", cores->size(), " cores for ", host.workers(),
                                           " workers; name as many, or none"));
  }
  // weft's own stack has no sockets.
  if (host.workers() > 1 && !config.has_netstack() && !config.transport().linux().reuse_port()) {
    report->Add("transport.linux.reuse_port",
                absl::StrCat("false, but there are ", host.workers(),
                             " workers; set it, or host.workers to 1"));
  }
}

// `name`, whose value is `value`, must not be more than `other`.
template <typename T>
void CheckAtMost(const std::string& name, T value, const std::string& other, T limit,
                 Report* report) {
  if (value <= limit) return;
  report->Add(name,
              absl::StrCat(value, " is more than ", other, ", ", limit, "; give at most that"));
}

// Whether the transport has frames is not known of one from outside.
void CheckFrames(const Transport& transport, Report* report) {
  if (transport.name() == "shm") {
    report->Add("netstack",
                "needs frames, and transport 'shm' has none; remove this section, or choose dpdk, "
                "afxdp, or linux with packet or tap");
  }
  const Linux& linux = transport.linux();
  if (transport.name() == "linux" && !linux.has_packet() && !linux.has_tap()) {
    report->Add("netstack",
                "needs frames, and transport 'linux' has them only from a device; give "
                "transport.linux `packet { interface: \"eth0\" }` or `tap { }`");
  }
}

void CheckNetstack(const Config& config, Report* report) {
  if (!config.has_netstack()) return;
  CheckFrames(config.transport(), report);
  const Netstack& netstack = config.netstack();
  if (netstack.addresses().empty() && !netstack.link_local()) {
    report->Add("netstack.link_local",
                "false, and there are no addresses; give one such as `addresses: \"10.0.0.2/24\"`");
  }
  CheckAtMost("netstack.ephemeral_port_min", netstack.ephemeral_port_min(), "ephemeral_port_max",
              netstack.ephemeral_port_max(), report);
}

void CheckTcp(const Config& config, Report* report) {
  if (!config.has_tcp()) return;
  const Tcp& tcp = config.tcp();
  CheckAtMost("tcp.rto_min_us", tcp.rto_min_us(), "rto_max_us", tcp.rto_max_us(), report);
  CheckAtMost("tcp.rto_initial_us", tcp.rto_initial_us(), "rto_max_us", tcp.rto_max_us(), report);
  CheckAtMost("tcp.receive_buffer_bytes", tcp.receive_buffer_bytes(), "receive_buffer_bytes_max",
              tcp.receive_buffer_bytes_max(), report);
}

void CheckRpc(const Rpc& rpc, Report* report) {
  // Less carries nothing useful beside the header.
  constexpr uint32_t kPacketBytesMin = 176;
  const uint32_t packet_bytes = rpc.session().packet_bytes_max();
  if (packet_bytes != 0 && packet_bytes < kPacketBytesMin) {
    report->Add("rpc.session.packet_bytes_max",
                absl::StrCat(packet_bytes, " is too small; give 0 or at least ", kPacketBytesMin));
  }
  const Retransmission& rto = rpc.retransmission();
  CheckAtMost("rpc.retransmission.rto_min_us", rto.rto_min_us(), "rto_max_us", rto.rto_max_us(),
              report);
  CheckAtMost("rpc.retransmission.rto_initial_us", rto.rto_initial_us(), "rto_max_us",
              rto.rto_max_us(), report);
  const Congestion& congestion = rpc.congestion();
  CheckAtMost("rpc.congestion.window_initial_packets", congestion.window_initial_packets(),
              "window_max_packets", congestion.window_max_packets(), report);
  const Swift& swift = congestion.swift();
  if (!(swift.target_range_packets_min() < swift.target_range_packets_max())) {
    report->Add("rpc.congestion.swift.target_range_packets_min",
                absl::StrCat(swift.target_range_packets_min(),
                             " is not less than target_range_packets_max, ",
                             swift.target_range_packets_max(), "; give less"));
  }
}

// A name pattern has its '*' at the end or nowhere.
bool IsPattern(const std::string& text) {
  const size_t star = text.find('*');
  return star == std::string::npos || star + 1 == text.size();
}

void CheckAllow(const Security& security, Report* report) {
  for (int i = 0; i < security.allow_size(); ++i) {
    const std::string name = absl::StrCat("security.allow[", i, "]");
    const char* const what_is_right = "' has a '*' that is not at its end; give it there, or none";
    if (const std::string& method = security.allow(i).method(); !IsPattern(method)) {
      report->Add(name + ".method", absl::StrCat("'", method, what_is_right));
    }
    if (const std::string& peer = security.allow(i).peer(); !IsPattern(peer)) {
      report->Add(name + ".peer", absl::StrCat("'", peer, what_is_right));
    }
  }
}

bool IsPskIdentity(const std::string& text) {
  return text.size() <= 128 && text.find(':') == std::string::npos &&
         std::none_of(text.begin(), text.end(), [](char c) { return absl::ascii_iscntrl(c); });
}

void CheckPsk(const Psk& psk, Report* report) {
  if (!psk.identity().empty() && !IsPskIdentity(psk.identity())) {
    report->Add("security.psk.identity",
                absl::StrCat("'", absl::CHexEscape(psk.identity()),
                             "' is not a name; give 1 to 128 bytes without ':' and control "
                             "characters"));
  }
  if (psk.identity().empty() != psk.key_file().empty()) {
    const bool identity = !psk.identity().empty();
    report->Add(identity ? "security.psk.identity" : "security.psk.key_file",
                absl::StrCat("is given without ", identity ? "key_file" : "identity",
                             "; give both, or neither"));
  } else if (psk.key_file().empty() && psk.peers_file().empty()) {
    report->Add("security.psk",
                "has no key; give identity and key_file, or peers_file for a server");
  }
}

// Of plain text, fields for keys would be ignored: whoever wrote them expects more than there is.
void CheckPlaintext(const Security& security, Report* report) {
  std::vector<const FieldDescriptor*> fields;
  security.GetReflection()->ListFields(security, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->containing_oneof() != nullptr) continue;
    report->Add(absl::StrCat("security.", field->name(), field->is_repeated() ? "[0]" : ""),
                "is only for psk and x509, and this is plaintext; remove it");
  }
}

void CheckSecurity(const Config& config, Report* report) {
  if (!config.has_security()) return;
  const Security& security = config.security();
  switch (security.mode_case()) {
    case Security::MODE_NOT_SET:
      report->Add("security", "says nothing; give one of plaintext, psk, x509");
      break;
    case Security::kPlaintext:
      CheckPlaintext(security, report);
      break;
    case Security::kPsk:
      CheckPsk(security.psk(), report);
      break;
    case Security::kX509:
      break;
  }
  CheckAllow(security, report);
}

}  // namespace

std::vector<Problem> FindProblems(const Config& config, const Locations& locations) {
  Report report(locations);
  CheckRules(config, "", &report);
  CheckTransport(config.transport(), &report);
  CheckHost(config, &report);
  CheckNetstack(config, &report);
  CheckTcp(config, &report);
  CheckRpc(config.rpc(), &report);
  CheckSecurity(config, &report);
  return report.Take();
}

absl::Status Validate(const Config& config) {
  return ToStatus(FindProblems(config, {}), "configuration");
}

}  // namespace weft::config
