// SPDX-License-Identifier: Apache-2.0
//
// The options and arguments of one command, and its help. (Abseil's flags are global to a program:
// every command would accept, and list, those of all others.)
//
//   Flags flags("rpc ping", "Sends requests and measures the replies.");
//   flags.Argument("ADDRESS", "where the server listens", &address);
//   flags.Number("count", "N", "requests to send", &count, 0, UINT64_MAX);
//   if (std::optional<int> status = flags.Parse(arguments)) return *status;
#ifndef WEFT_CLI_FLAGS_H_
#define WEFT_CLI_FLAGS_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "weft/cli/command.h"

namespace weft::cli {

class Flags {
 public:
  Flags(absl::string_view command, absl::string_view about);

  // Declare an option --name each; `value` keeps what it holds, the default, unless the option is
  // given. Written as "--name VALUE" or "--name=VALUE"; a Bool as "--name".
  void Bool(absl::string_view name, absl::string_view help, bool* value);
  void Text(absl::string_view name, absl::string_view form, absl::string_view help,
            std::string* value);
  // One that may be given several times; all values, in order.
  void Texts(absl::string_view name, absl::string_view form, absl::string_view help,
             std::vector<std::string>* values);
  void Number(absl::string_view name, absl::string_view form, absl::string_view help,
              uint64_t* value, uint64_t min, uint64_t max);
  // "100ms", "1.5s"; greater than zero.
  void Duration(absl::string_view name, absl::string_view help, absl::Duration* value);

  // --config, --transport and --plaintext, which every configured program has.
  void Config(std::string* config, std::string* transport, bool* plaintext);

  // Declares what else the command line has: exactly one, and of several of these one each, in
  // order; or at least one.
  void Argument(absl::string_view form, absl::string_view help, std::string* value);
  void Arguments(absl::string_view form, absl::string_view help, std::vector<std::string>* values);
  // One that may be missing, behind all others; not together with Arguments().
  void OptionalArgument(absl::string_view form, absl::string_view help, std::string* value);

  // None if the command is to run. Otherwise the program's exit status: help was asked for and
  // printed, or the error was.
  std::optional<int> Parse(cli::Arguments arguments);

  // Prints "weft COMMAND: MESSAGE" to standard error.
  void Complain(absl::string_view message) const;
  // The same; returns kExitUsage.
  int UsageError(absl::string_view message) const;

 private:
  struct Option {
    std::string name;  // without the dashes
    std::string form;  // of its value; empty for a Bool
    std::string help;
    std::function<absl::Status(const std::string& value)> set;
  };

  absl::Status ParseAll(cli::Arguments arguments);
  absl::Status ParseOption(cli::Arguments arguments, size_t* index);
  void PrintHelp() const;
  std::string Synopsis() const;

  const std::string command_;
  const std::string about_;
  std::vector<Option> options_;
  struct Positional {
    std::string form;
    std::string help;
    std::string* value;  // null: it goes to rest_
    bool optional = false;
  };
  std::vector<Positional> positionals_;
  std::vector<std::string>* rest_ = nullptr;  // of one or more
};

}  // namespace weft::cli

#endif  // WEFT_CLI_FLAGS_H_
