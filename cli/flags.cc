// SPDX-License-Identifier: Apache-2.0

#include "weft/cli/flags.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "weft/core/suggest.h"

namespace weft::cli {

Flags::Flags(absl::string_view command, absl::string_view about)
    : command_(command), about_(about) {}

void Flags::Bool(absl::string_view name, absl::string_view help, bool* value) {
  options_.push_back({std::string(name), "", std::string(help), [value](const std::string&) {
                        *value = true;
                        return absl::OkStatus();
                      }});
}

void Flags::Text(absl::string_view name, absl::string_view form, absl::string_view help,
                 std::string* value) {
  options_.push_back(
      {std::string(name), std::string(form), std::string(help), [value](const std::string& text) {
         *value = text;
         return absl::OkStatus();
       }});
}

void Flags::Texts(absl::string_view name, absl::string_view form, absl::string_view help,
                  std::vector<std::string>* values) {
  options_.push_back(
      {std::string(name), std::string(form), std::string(help), [values](const std::string& text) {
         values->push_back(text);
         return absl::OkStatus();
       }});
}

void Flags::Number(absl::string_view name, absl::string_view form, absl::string_view help,
                   uint64_t* value, uint64_t min, uint64_t max) {
  auto set = [value, min, max](const std::string& text) {
    uint64_t number = 0;
    if (!absl::SimpleAtoi(text, &number) || number < min || number > max) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", text, "' is not a whole number from ", min, " to ", max));
    }
    *value = number;
    return absl::OkStatus();
  };
  options_.push_back(
      {std::string(name), std::string(form), absl::StrCat(help, " (", *value, ")"), set});
}

void Flags::Duration(absl::string_view name, absl::string_view help, absl::Duration* value) {
  auto set = [value](const std::string& text) {
    absl::Duration duration;
    if (!absl::ParseDuration(text, &duration) || duration <= absl::ZeroDuration() ||
        duration == absl::InfiniteDuration()) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", text, "' is not a duration such as 100ms or 1.5s"));
    }
    *value = duration;
    return absl::OkStatus();
  };
  options_.push_back({std::string(name), "TIME", std::string(help), set});
}

void Flags::Config(std::string* config, std::string* transport, bool* plaintext) {
  Text("config", "FILE", "configuration; without it, the file that WEFT_CONFIG names", config);
  Text("transport", "NAME", "another transport than the configuration's", transport);
  Bool("plaintext", "plain text to other machines too", plaintext);
}

void Flags::Argument(absl::string_view form, absl::string_view help, std::string* value) {
  positionals_.push_back({std::string(form), std::string(help), value});
}

void Flags::Arguments(absl::string_view form, absl::string_view help,
                      std::vector<std::string>* values) {
  positionals_.push_back({std::string(form), std::string(help), nullptr});
  rest_ = values;
}

void Flags::OptionalArgument(absl::string_view form, absl::string_view help, std::string* value) {
  positionals_.push_back({std::string(form), std::string(help), value, true});
}

std::optional<int> Flags::Parse(cli::Arguments arguments) {
  for (const std::string& word : arguments) {
    if (word == "--") break;
    if (word == "--help" || word == "-h") {
      PrintHelp();
      return kExitOk;
    }
  }
  if (absl::Status status = ParseAll(arguments); !status.ok()) {
    Complain(status.message());
    std::fprintf(stderr, "Try 'weft %s --help'.\n", command_.c_str());
    return kExitUsage;
  }
  return std::nullopt;
}

absl::Status Flags::ParseAll(cli::Arguments arguments) {
  std::vector<std::string> rest;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--") {
      rest.insert(rest.end(), arguments.begin() + i + 1, arguments.end());
      break;
    }
    // "-" stands for standard input.
    if (absl::StartsWith(arguments[i], "-") && arguments[i] != "-") {
      if (absl::Status status = ParseOption(arguments, &i); !status.ok()) return status;
    } else {
      rest.push_back(arguments[i]);
    }
  }
  if (rest.size() > positionals_.size() && rest_ == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("unexpected argument '", rest[positionals_.size()], "'"));
  }
  if (rest.size() < positionals_.size() && !positionals_[rest.size()].optional) {
    return absl::InvalidArgumentError(
        absl::StrCat("no ", positionals_[rest.size()].form, " given"));
  }
  if (rest_ != nullptr) {
    *rest_ = std::move(rest);
  } else {
    for (size_t i = 0; i < rest.size(); ++i) *positionals_[i].value = rest[i];
  }
  return absl::OkStatus();
}

absl::Status Flags::ParseOption(cli::Arguments arguments, size_t* index) {
  const std::string& word = arguments[*index];
  const size_t equals = word.find('=');
  const std::string dashed = word.substr(0, equals);
  const auto option = std::find_if(options_.begin(), options_.end(), [&](const Option& o) {
    return dashed == absl::StrCat("--", o.name);
  });
  if (option == options_.end()) {
    std::vector<std::string> known = {"--help"};
    for (const Option& o : options_) known.push_back(absl::StrCat("--", o.name));
    return absl::InvalidArgumentError(
        absl::StrCat("unknown option '", dashed, "'", Suggest(dashed, known)));
  }
  std::string value;
  if (option->form.empty()) {
    if (equals != std::string::npos) {
      return absl::InvalidArgumentError(absl::StrCat(dashed, " takes no value"));
    }
  } else if (equals != std::string::npos) {
    value = word.substr(equals + 1);
  } else if (*index + 1 < arguments.size()) {
    value = arguments[++*index];
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat(dashed, " needs a value: ", dashed, " ", option->form));
  }
  if (absl::Status status = option->set(value); !status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(dashed, ": ", status.message()));
  }
  return absl::OkStatus();
}

std::string Flags::Synopsis() const {
  std::string synopsis = absl::StrCat("weft ", command_);
  for (const Positional& positional : positionals_) {
    absl::StrAppend(
        &synopsis, " ",
        positional.optional ? absl::StrCat("[", positional.form, "]") : positional.form);
  }
  return absl::StrCat(synopsis, rest_ != nullptr ? "..." : "",
                      options_.empty() ? "" : " [OPTIONS]");
}

void Flags::PrintHelp() const {
  std::printf("Usage: %s\n\n%s\n\n", Synopsis().c_str(), about_.c_str());
  const auto print = [](const std::string& what, const std::string& help) {
    std::printf("  %-22s %s\n", what.c_str(), help.c_str());
  };
  for (const Positional& positional : positionals_) print(positional.form, positional.help);
  for (const Option& option : options_) {
    print(absl::StrCat("--", option.name, option.form.empty() ? "" : " ", option.form),
          option.help);
  }
  print("--help", "this text");
}

void Flags::Complain(absl::string_view message) const {
  std::fprintf(stderr, "weft %s: %s\n", command_.c_str(), std::string(message).c_str());
}

int Flags::UsageError(absl::string_view message) const {
  Complain(message);
  return kExitUsage;
}

}  // namespace weft::cli
