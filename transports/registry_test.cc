// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/registry.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace weft {
namespace {

class NamedTransport : public Transport {
 public:
  explicit NamedTransport(std::string name) : name_(std::move(name)) {}
  absl::string_view name() const override { return name_; }
  const Capabilities& capabilities() const override { return capabilities_; }

 private:
  std::string name_;
  Capabilities capabilities_;
};

absl::Status ProbeOk() { return absl::OkStatus(); }

absl::StatusOr<std::unique_ptr<Transport>> OpenNamed(const config::Transport& config) {
  return std::make_unique<NamedTransport>(config.name());
}

absl::StatusOr<std::unique_ptr<Transport>> OpenBroken(const config::Transport&) {
  return absl::UnavailableError("no such device");
}

const TransportRegistrar second({.name = "wool",
                                 .summary = "second by name",
                                 .address_kinds = {Address::Kind::kShm, Address::Kind::kIpv4},
                                 .capabilities = {.streams = true},
                                 .probe = &ProbeOk,
                                 .open = &OpenBroken});
const TransportRegistrar first({.name = "flax",
                                .summary = "first by name",
                                .address_kinds = {Address::Kind::kIpv4, Address::Kind::kIpv6},
                                .capabilities = {.datagrams = true},
                                .probe = &ProbeOk,
                                .open = &OpenNamed});

const TransportRegistrar frames_only({.name = "bast",
                                      .summary = "nothing but frames",
                                      .address_kinds = {Address::Kind::kIpv4},
                                      .capabilities = {.frames = true},
                                      .probe = &ProbeOk,
                                      .open = &OpenNamed});

TEST(RegistryTest, ListsByName) {
  std::vector<std::string> names;
  for (const TransportPlugin* plugin : RegisteredTransports()) names.push_back(plugin->name);
  EXPECT_EQ(names, (std::vector<std::string>{"bast", "flax", "wool"}));
}

TEST(RegistryTest, FindsByName) {
  ASSERT_NE(FindTransport("wool"), nullptr);
  EXPECT_EQ(FindTransport("wool")->summary, "second by name");
  EXPECT_EQ(FindTransport("silk"), nullptr);
  EXPECT_EQ(FindTransport(""), nullptr);
}

TEST(RegistryTest, FindsByAddressTheFirstByName) {
  EXPECT_EQ(FindTransportFor(Address::Kind::kIpv4), FindTransport("flax"));
  EXPECT_EQ(FindTransportFor(Address::Kind::kShm), FindTransport("wool"));
  EXPECT_EQ(FindTransportFor(Address::Kind::kSim), nullptr);
  EXPECT_EQ(FindTransportFor(Address::Kind::kNone), nullptr);
}

TEST(RegistryTest, OpensTheNamedOne) {
  config::Transport config;
  config.set_name("flax");
  const auto transport = OpenPlainTransport(config);
  ASSERT_TRUE(transport.ok()) << transport.status();
  EXPECT_EQ((*transport)->name(), "flax");
}

TEST(RegistryTest, PassesThePluginsErrorOn) {
  config::Transport config;
  config.set_name("wool");
  EXPECT_EQ(OpenPlainTransport(config).status(), absl::UnavailableError("no such device"));
}

TEST(RegistryTest, NamesWhatThereIsWhenItIsAnother) {
  config::Transport config;
  config.set_name("silk");
  EXPECT_EQ(OpenPlainTransport(config).status(),
            absl::NotFoundError("no transport 'silk' in this program; it has flax, wool"));
}

TEST(RegistryDeathTest, RefusesTwoOfOneName) {
  EXPECT_DEATH(TransportRegistrar({.name = "flax",
                                   .summary = "",
                                   .address_kinds = {},
                                   .capabilities = {},
                                   .probe = &ProbeOk,
                                   .open = &OpenNamed}),
               "two transports named 'flax' are linked into this program");
}

}  // namespace
}  // namespace weft
