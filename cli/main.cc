// SPDX-License-Identifier: Apache-2.0
//
// weft: looks at transports, configurations and servers, calls, serves and measures.

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "weft/cli/command.h"
#include "weft/core/suggest.h"

namespace weft::cli {
namespace {

struct Command {
  absl::string_view name;
  absl::string_view summary;
  int (*run)(Arguments arguments);
};

constexpr Command kCommands[] = {
    {"config check", "say what is wrong with configuration files", &ConfigCheck},
    {"config print", "print the effective configuration, defaults included", &ConfigPrint},
    {"net arp", "show the neighbours that a running host's network stack knows", &NetArp},
    {"net ping", "have a running host's network stack send echo requests", &NetPing},
    {"net show", "show the interfaces of a running host's network stack", &NetShow},
    {"net stats", "show what a running host's network stack has counted", &NetStats},
    {"rdma check", "say whether RDMA is usable here, and what is to be mended", &RdmaCheck},
    {"rdma devices", "list the RDMA devices of this machine, their ports and addresses",
     &RdmaDevices},
    {"router add", "have a running router send requests to one more server", &RouterAdd},
    {"router drain", "have a running router send no more requests to a server", &RouterDrain},
    {"router remove", "have a running router forget a server at once", &RouterRemove},
    {"router serve", "spread requests over servers, which answer clients directly", &RouterServe},
    {"router show", "show the servers and queues of a running router", &RouterShow},
    {"rpc call", "call a method of a running server, with JSON", &RpcCall},
    {"rpc list", "list the services of a running server and their methods", &RpcList},
    {"rpc ping", "send requests to a server and measure the replies", &RpcPing},
    {"rpc serve", "answer requests by sending them back", &RpcServe},
    {"rpc stats", "show sessions and counters of a running program's RPC", &RpcStats},
    {"rpc top", "watch methods and sessions of a running program's RPC", &RpcTop},
    {"tcp connections", "show the connections of a running host's own TCP", &TcpConnections},
    {"tcp stats", "show what a running host's own TCP has counted", &TcpStats},
    {"transports", "list the transports of this program and what they can do here", &Transports},
};

// The commands of `group`, or all.
void PrintUsage(std::FILE* out, absl::string_view group) {
  std::fprintf(out, "Usage: weft COMMAND [OPTIONS]\n\nCommands:\n");
  for (const Command& command : kCommands) {
    if (!absl::StartsWith(command.name, group)) continue;
    std::fprintf(out, "  %-16s %s\n", std::string(command.name).c_str(),
                 std::string(command.summary).c_str());
  }
  std::fprintf(
      out,
      "\n'weft COMMAND --help' has the options of each.\n"
      "Exit status: 0 it worked, 1 it did not, 2 command line or configuration is wrong.\n");
}

bool IsGroup(absl::string_view word) {
  return std::any_of(std::begin(kCommands), std::end(kCommands), [word](const Command& command) {
    return absl::StartsWith(command.name, absl::StrCat(word, " "));
  });
}

// `words` begin with no command.
int Unknown(absl::Span<const std::string> words) {
  std::vector<std::string> known;
  for (const Command& command : kCommands) known.emplace_back(command.name);
  // A name has one word or two; the second may be an argument already.
  std::string name = words[0];
  std::string hint = Suggest(name, known);
  if (words.size() > 1 && !absl::StartsWith(words[1], "-")) {
    const std::string both = absl::StrCat(words[0], " ", words[1]);
    const std::string hint_of_both = Suggest(both, known);
    if (IsGroup(words[0]) || absl::StrContains(hint_of_both, "did you mean")) {
      name = both;
      hint = hint_of_both;
    }
  }
  std::fprintf(stderr, "weft: unknown command '%s'%s\n", name.c_str(), hint.c_str());
  return kExitUsage;
}

bool IsHelp(const std::string& word) { return word == "--help" || word == "-h" || word == "help"; }

int Main(std::vector<std::string> words) {
  // `weft help rpc ping` is `weft rpc ping --help`.
  if (words.size() > 1 && words[0] == "help") {
    words.erase(words.begin());
    words.push_back("--help");
  }
  for (const Command& command : kCommands) {
    const std::vector<std::string> name = absl::StrSplit(command.name, ' ');
    if (words.size() < name.size() || !std::equal(name.begin(), name.end(), words.begin()))
      continue;
    return command.run(absl::MakeConstSpan(words).subspan(name.size()));
  }
  if (words.empty()) {
    PrintUsage(stderr, "");
    return kExitUsage;
  }
  if (IsHelp(words[0])) {
    PrintUsage(stdout, "");
    return kExitOk;
  }
  if (absl::StartsWith(words[0], "-")) {
    std::fprintf(stderr, "weft: '%s' comes before the command; options follow it\n",
                 words[0].c_str());
    return kExitUsage;
  }
  if (!IsGroup(words[0])) return Unknown(words);
  if (words.size() > 1 && IsHelp(words[1])) {
    PrintUsage(stdout, words[0]);
    return kExitOk;
  }
  if (words.size() == 1 || absl::StartsWith(words[1], "-")) {
    PrintUsage(stderr, words[0]);
    return kExitUsage;
  }
  return Unknown(words);
}

}  // namespace
}  // namespace weft::cli

int main(int argc, char** argv) {
  return weft::cli::Main(std::vector<std::string>(argv + 1, argv + argc));
}
