// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/session_log.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "weft/core/log.h"
#include "weft/core/temp_directory.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rpc {
namespace {

TEST(SessionLogTest, EachEventHasItsLevelAndFields) {
  const TempDirectory directory;
  const std::string path = absl::StrCat(directory.path(), "/sessions.log");
  ASSERT_TRUE(ConfigureLog({.file = path}).ok());
  sim::Network network(1);
  const auto transport = sim::OpenTransport(&network);
  const auto port = transport->OpenDatagramPort({.local = Address::Sim("server")}).value();
  const auto other = transport->OpenDatagramPort({.local = Address::Sim("client")}).value();
  const Peer peer = port->Resolve(Address::Sim("client")).value();
  for (const SessionEvent::Kind kind :
       {SessionEvent::Kind::kOpened, SessionEvent::Kind::kLost, SessionEvent::Kind::kRefused}) {
    LogSessionEvent({.kind = kind, .session = 7, .peer = peer, .age_ns = 5'012'345'678}, *port);
  }
  // The thread that writes may wait for a processor.
  FlushLog(absl::Seconds(30));
  std::ifstream in(path);
  const std::string text(std::istreambuf_iterator<char>(in), {});
  const char* const fields = " local=sim:server peer=sim:client session=7 age_ms=5012 ";
  EXPECT_TRUE(absl::StrContains(text, absl::StrCat(" INFO session lost", fields))) << text;
  EXPECT_TRUE(absl::StrContains(text, absl::StrCat(" WARNING session refused", fields))) << text;
  EXPECT_FALSE(absl::StrContains(text, "opened")) << "of interest to those who debug";
  ASSERT_TRUE(ConfigureLog({}).ok());
}

}  // namespace
}  // namespace weft::rpc
