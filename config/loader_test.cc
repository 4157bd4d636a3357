// SPDX-License-Identifier: Apache-2.0

#include "weft/config/loader.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "weft/config/validate.h"

namespace weft::config {
namespace {

Config MustParse(const std::string& text, Format format) {
  const auto config = Parse(text, "test", format);
  EXPECT_TRUE(config.ok()) << config.status() << "\n" << text;
  return config.value_or(Config());
}

std::string Write(const std::string& name, const std::string& text) {
  std::string path = std::string(std::getenv("TEST_TMPDIR")) + "/" + name;
  std::ofstream(path) << text;
  return path;
}

constexpr char kText[] = R"(
  # A comment.
  transport {
    name: "shm"
    shm { ring_bytes: 131072 mode: "0660" }
    decorators { fault { seed: 18446744073709551615 loss: 0.01 } }
    decorators { pcap { path: "a.pcap" } }
  }
  host { workers: 2 cores: "0-1" loop { mode: BUSY } }
  rpc { servers: "shm:a" servers: "shm:b" policy: FIXED_ROUTE }
  metrics { listen: "9100" })";

constexpr char kJson[] = R"({
  "transport": {
    "name": "shm",
    "shm": {"ring_bytes": 131072, "mode": "0660"},
    "decorators": [{"fault": {"seed": "18446744073709551615", "loss": 0.01}},
                   {"pcap": {"path": "a.pcap"}}]
  },
  "host": {"workers": 2, "cores": "0-1", "loop": {"mode": "BUSY"}},
  "rpc": {"servers": ["shm:a", "shm:b"], "policy": "FIXED_ROUTE"},
  "metrics": {"listen": "9100"}
})";

TEST(LoaderTest, BothFormatsReadTheSame) {
  const Config config = MustParse(kText, Format::kText);
  EXPECT_EQ(config.transport().name(), "shm");
  EXPECT_EQ(config.transport().decorators(0).fault().seed(), 18446744073709551615u);
  EXPECT_EQ(config.rpc().servers(1), "shm:b");
  EXPECT_EQ(config.DebugString(), MustParse(kJson, Format::kJson).DebugString());
}

TEST(LoaderTest, EmptyTextIsTheDefaultConfiguration) {
  EXPECT_EQ(MustParse("", Format::kText).ByteSizeLong(), 0u);
  EXPECT_EQ(MustParse("# nothing", Format::kText).ByteSizeLong(), 0u);
  EXPECT_EQ(MustParse("{}", Format::kJson).ByteSizeLong(), 0u);
}

TEST(LoaderTest, PluginSettingsOfALinkedType) {
  // Any message that is linked in will do.
  const char* text =
      "transport { name: 'mine' plugin { [type.googleapis.com/weft.config.Loop] { spin_us: 3 } } }";
  const char* json = R"({"transport": {"name": "mine", "plugin":
      {"@type": "type.googleapis.com/weft.config.Loop", "spinUs": 3}}})";
  for (const Config& config : {MustParse(text, Format::kText), MustParse(json, Format::kJson)}) {
    Loop loop;
    ASSERT_TRUE(config.transport().plugin().UnpackTo(&loop));
    EXPECT_EQ(loop.spin_us(), 3u);
    for (const Format format : {Format::kText, Format::kJson}) {
      const Config again = MustParse(Print(config, format), format);
      ASSERT_TRUE(again.transport().plugin().UnpackTo(&loop));
      EXPECT_EQ(loop.spin_us(), 3u);
    }
  }
}

TEST(LoaderTest, PrintFillsInDefaultsAndReadsBackAsTheSame) {
  for (const char* text :
       {"", kText, "transport { name: 'sim' sim { loss: 0.1 } }",
        "transport { name: 'dpdk' } netstack { ttl: 3 }",
        "security { plaintext { original_format: ANY } }",
        "security { psk { identity: 'a' key_file: 'k' } allow { method: '*' peer: 'b' } }",
        "security { psk { peers_file: 'p' } cipher: AES_256_GCM }", "tracing { file: 'f' }",
        "tracing { file: '-' queue_spans: 16 }", "log { level: OFF }"}) {
    const Config config = MustParse(text, Format::kText);
    const std::string printed = Print(config, Format::kText);
    for (const Format format : {Format::kText, Format::kJson}) {
      const Config again = MustParse(Print(config, format), format);
      EXPECT_EQ(again.DebugString(), MustParse(printed, Format::kText).DebugString());
      EXPECT_EQ(Print(again, Format::kText), printed);
    }
    // Nothing that was set has changed.
    Config merged = MustParse(printed, Format::kText);
    merged.clear_transport();
    merged.clear_rpc();
    merged.clear_security();
    Config with_config = merged;
    with_config.MergeFrom(config);
    with_config.clear_transport();
    with_config.clear_rpc();
    with_config.clear_security();
    EXPECT_EQ(with_config.DebugString(), merged.DebugString());
  }
}

TEST(LoaderTest, PrintShowsTheSettingsOfTheTransportNamed) {
  const std::string text = Print(Config(), Format::kText);
  EXPECT_NE(text.find("name: \"linux\""), std::string::npos) << text;
  EXPECT_NE(text.find("receive_buffer_bytes: 1048576"), std::string::npos) << text;
  EXPECT_EQ(text.find("ring_bytes"), std::string::npos) << text;
  EXPECT_NE(text.find("spin_us: 50"), std::string::npos) << text;
  EXPECT_EQ(text.find("netstack"), std::string::npos) << text;
}

TEST(LoaderTest, AFilesFormatIsFoundByNameOrByContent) {
  for (const std::string& path :
       {Write("a.json", kJson), Write("a.cfg", kText), Write("b.cfg", kJson)}) {
    const auto config = LoadFile(path);
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(config->metrics().listen(), "9100");
  }
}

TEST(LoaderTest, AnErrorInAFileBeginsWithItsName) {
  const std::string path = Write("bad.cfg", "\n  host { workers: 0 }");
  EXPECT_EQ(LoadFile(path).status().message(),
            path + ":2:10: host.workers: 0 is out of range; give a whole number from 1 to 1024");
}

TEST(LoaderTest, AFileThatCannotBeReadIsNamed) {
  const auto missing = LoadFile("/nonexistent/a.cfg").status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(missing.message(),
            "cannot read configuration file '/nonexistent/a.cfg': No such file or directory");
  EXPECT_EQ(LoadFile("/").status().message(), "cannot read configuration file '/': Is a directory");
}

TEST(LoaderTest, TextHasALimit) {
  const std::string text(kTextBytesMax + 1, ' ');
  EXPECT_EQ(Parse(text, "big.cfg", Format::kText).status().message(),
            "big.cfg: 1048577 bytes; a configuration has at most 1048576");
  EXPECT_TRUE(Parse(text.substr(1), "big.cfg", Format::kText).ok());
}

TEST(ValidateTest, AConfigurationMadeByAProgramIsCheckedToo) {
  Config config;
  EXPECT_TRUE(Validate(config).ok());
  config.mutable_host()->set_workers(0);
  EXPECT_EQ(Validate(config).message(),
            "configuration: host.workers: 0 is out of range; give a whole number from 1 to 1024");
}

}  // namespace
}  // namespace weft::config
