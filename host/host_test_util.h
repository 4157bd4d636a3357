// SPDX-License-Identifier: Apache-2.0
//
// Hosts of configurations that tests write as text.
#ifndef WEFT_HOST_HOST_TEST_UTIL_H_
#define WEFT_HOST_HOST_TEST_UTIL_H_

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "weft/config/config.h"
#include "weft/host/host.h"

namespace weft {

using Application = absl::StatusOr<std::shared_ptr<void>>;

inline config::Config FromText(const std::string& text) {
  config::Config config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &config)) << text;
  return config;
}

inline std::unique_ptr<Host> MustOpen(const std::string& text) {
  auto host = Host::Open(FromText(text));
  EXPECT_TRUE(host.ok()) << host.status();
  return *std::move(host);
}

// Calls a function when it is destroyed.
class AtEnd {
 public:
  explicit AtEnd(std::function<void()> function) : function_(std::move(function)) {}
  ~AtEnd() { function_(); }

 private:
  const std::function<void()> function_;
};

}  // namespace weft

#endif  // WEFT_HOST_HOST_TEST_UTIL_H_
