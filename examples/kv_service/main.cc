// SPDX-License-Identifier: Apache-2.0
//
// A key-value store with a typed service: kv.proto has its methods, store.cc implements them,
// serve.cc puts them behind an address, commands.cc calls them. The transport, the addresses, keys
// and certificates, metrics and traces come from the configuration:
//
//   kv_service --config examples/configs/kv-linux.textproto &
//   kv_service --config examples/configs/kv-linux.textproto put colour blue
//   kv_service --config examples/configs/kv-linux.textproto get colour
//   kv_service --config examples/configs/kv-linux.textproto scan
//
// What it does shows at http://127.0.0.1:9100/status, and by `weft rpc top 9100`.

#include <cstdio>
#include <string>
#include <vector>

#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "weft/config/flags.h"
#include "weft/examples/kv_service/commands.h"
#include "weft/examples/kv_service/serve.h"

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "kv_service --config FILE [COMMAND]\n"
      "  serve             the store, until it is interrupted; without a command too\n"
      "  put KEY VALUE     get KEY     delete KEY     scan [PREFIX]\n"
      "  read KEY          the bytes of a value, as they are\n"
      "  load COUNT        puts and gets so many rows");
  std::vector<std::string> words;
  for (const char* word : absl::ParseCommandLine(argc, argv)) words.emplace_back(word);
  words.erase(words.begin());
  const auto config = weft::config::FromFlags();
  absl::Status status = config.status();
  if (status.ok()) {
    status =
        words.empty() || words[0] == "serve" ? kv::Serve(*config) : kv::RunCommand(*config, words);
  }
  if (status.ok()) return 0;
  std::fprintf(stderr, "kv_service: %s\n",
               status.ToString(absl::StatusToStringMode::kWithNoExtraData).c_str());
  return 1;
}
