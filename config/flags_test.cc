// SPDX-License-Identifier: Apache-2.0

#include "weft/config/flags.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "absl/flags/declare.h"
#include "absl/flags/flag.h"
#include "absl/flags/reflection.h"

ABSL_DECLARE_FLAG(std::string, config);
ABSL_DECLARE_FLAG(std::string, transport);
ABSL_DECLARE_FLAG(bool, plaintext);

namespace weft::config {
namespace {

std::string Write(const std::string& name, const std::string& text) {
  std::string path = std::string(std::getenv("TEST_TMPDIR")) + "/" + name;
  std::ofstream(path) << text;
  return path;
}

class FlagsTest : public ::testing::Test {
 protected:
  FlagsTest() { unsetenv("WEFT_CONFIG"); }

 private:
  absl::FlagSaver saver_;
};

TEST_F(FlagsTest, WithoutAnythingTheDefaults) { EXPECT_EQ(FromFlags().value().ByteSizeLong(), 0u); }

TEST_F(FlagsTest, TheFlagWinsOverTheEnvironment) {
  setenv("WEFT_CONFIG", Write("env.cfg", "host { workers: 2 }").c_str(), 1);
  EXPECT_EQ(FromFlags().value().host().workers(), 2u);
  absl::SetFlag(&FLAGS_config, Write("flag.cfg", "host { workers: 3 }"));
  EXPECT_EQ(FromFlags().value().host().workers(), 3u);
}

TEST_F(FlagsTest, AnErrorSaysThatTheFileIsFromTheEnvironment) {
  setenv("WEFT_CONFIG", "/nonexistent/a.cfg", 1);
  EXPECT_EQ(FromFlags().status().message(),
            "cannot read configuration file '/nonexistent/a.cfg': No such file or directory\n"
            "(the file is from WEFT_CONFIG)");
}

TEST_F(FlagsTest, TheSwitchDropsTheSettingsOfAnotherTransportOnly) {
  absl::SetFlag(&FLAGS_config, Write("shm.cfg", R"(
      transport { name: "shm" shm { max_peers: 3 } decorators { trace {} } buffers { count: 99 } })"));
  absl::SetFlag(&FLAGS_transport, "shm");
  EXPECT_EQ(FromFlags().value().transport().shm().max_peers(), 3u);

  absl::SetFlag(&FLAGS_transport, "sim");
  const Transport transport = FromFlags().value().transport();
  EXPECT_EQ(transport.name(), "sim");
  EXPECT_EQ(transport.settings_case(), Transport::SETTINGS_NOT_SET);
  EXPECT_EQ(transport.decorators_size(), 1);
  EXPECT_EQ(transport.buffers().count(), 99u);
}

TEST_F(FlagsTest, PlainTextByFlag) {
  EXPECT_FALSE(FromFlags().value().has_security());
  absl::SetFlag(&FLAGS_plaintext, true);
  EXPECT_TRUE(FromFlags().value().security().has_plaintext());
  absl::SetFlag(&FLAGS_config, Write("any.cfg", "security { plaintext { original_format: ANY } }"));
  EXPECT_EQ(FromFlags().value().security().plaintext().original_format(), Plaintext::ANY);
  absl::SetFlag(&FLAGS_config,
                Write("psk.cfg", "security { psk { identity: 'a' key_file: 'b' } }"));
  EXPECT_EQ(FromFlags().status().message(),
            "--plaintext, but the configuration has keys (security); give one of the two");
}

TEST_F(FlagsTest, TheSwitchDropsTheSettingsOfAnotherPlugin) {
  absl::SetFlag(&FLAGS_config, Write("plugin.cfg", R"(
      transport { name: "a" plugin { [type.googleapis.com/weft.config.Loop] {} } })"));
  absl::SetFlag(&FLAGS_transport, "a");
  EXPECT_TRUE(FromFlags().value().transport().has_plugin());
  absl::SetFlag(&FLAGS_transport, "b");
  EXPECT_FALSE(FromFlags().value().transport().has_plugin());
}

}  // namespace
}  // namespace weft::config
