// SPDX-License-Identifier: Apache-2.0
//
// What is generated of the .proto files in testdata, which the .golden files beside them show. To
// write those anew:
//   WEFT_UPDATE_GOLDEN=$PWD/rpc/codegen/testdata bazel run //rpc/codegen:golden_test
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>

#include "google/protobuf/compiler/code_generator.h"
#include "google/protobuf/compiler/importer.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "gtest/gtest.h"
#include "weft/rpc/codegen/generator.h"

namespace weft::rpc::codegen {
namespace {

namespace compiler = google::protobuf::compiler;

// Keeps what is generated.
class Files final : public compiler::GeneratorContext {
 public:
  google::protobuf::io::ZeroCopyOutputStream* Open(const std::string& name) override {
    return new google::protobuf::io::StringOutputStream(&texts[name]);
  }
  std::map<std::string, std::string> texts;
};

class Errors final : public compiler::MultiFileErrorCollector {
 public:
  void AddError(const std::string& file, int line, int, const std::string& message) override {
    ADD_FAILURE() << file << ":" << line + 1 << ": " << message;
  }
};

// Texts that are there under a name, and else the files of testdata.
class Sources final : public compiler::SourceTree {
 public:
  Sources() {
    disk_.MapPath("", "rpc/codegen/testdata");
    disk_.MapPath("weft/rpc/service", "rpc/service");
  }
  google::protobuf::io::ZeroCopyInputStream* Open(const std::string& name) override {
    const auto found = texts.find(name);
    if (found == texts.end()) return disk_.Open(name);
    return new google::protobuf::io::ArrayInputStream(found->second.data(),
                                                      static_cast<int>(found->second.size()));
  }
  std::map<std::string, std::string> texts;

 private:
  compiler::DiskSourceTree disk_;
};

class GeneratorTest : public ::testing::Test {
 protected:
  // The error, or "".
  std::string Generate(const std::string& name, const std::string& parameter = "") {
    compiler::Importer importer(&sources_, &errors_);
    const google::protobuf::FileDescriptor* const file = importer.Import(name);
    if (file == nullptr) return "not parsed";
    std::string error;
    const bool good = Generator().Generate(file, parameter, &files_, &error);
    EXPECT_EQ(good, error.empty());
    return error;
  }
  // Of a file with this text.
  std::string ErrorOf(const std::string& text) {
    sources_.texts["bad.proto"] = text;
    const std::string error = Generate("bad.proto");
    EXPECT_TRUE(files_.texts.empty());
    return error;
  }

  Sources sources_;
  Errors errors_;
  Files files_;
};

std::string ReadFile(const std::string& path) {
  const std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

class GoldenTest : public GeneratorTest, public ::testing::WithParamInterface<std::string> {};

TEST_P(GoldenTest, LooksAsItDid) {
  ASSERT_EQ(Generate(GetParam() + ".proto"), "");
  ASSERT_EQ(files_.texts.size(), 2u);
  const char* const update = std::getenv("WEFT_UPDATE_GOLDEN");
  for (const auto& [name, text] : files_.texts) {
    if (update != nullptr) {
      std::ofstream(std::string(update) + "/" + name + ".golden") << text;
    } else {
      EXPECT_EQ(text, ReadFile("rpc/codegen/testdata/" + name + ".golden")) << name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Files, GoldenTest,
                         ::testing::Values("all_kinds", "keywords", "no_package"),
                         [](const auto& info) { return info.param; });

constexpr char kHead[] = "syntax = \"proto3\"; package p; message M {} ";

TEST_F(GeneratorTest, AFileWithoutServices) {
  EXPECT_EQ(ErrorOf(kHead),
            "bad.proto: there is no service in it; messages need a cc_proto_library only");
}

TEST_F(GeneratorTest, MessagesWithoutDescriptors) {
  EXPECT_EQ(ErrorOf(std::string(kHead) + "option optimize_for = LITE_RUNTIME; service S {}"),
            "bad.proto: services need descriptors; remove optimize_for = LITE_RUNTIME");
}

TEST_F(GeneratorTest, Groups) {
  EXPECT_EQ(ErrorOf("syntax = \"proto2\"; message M { optional group G = 1 {} }"
                    "service S { rpc A(M) returns (M.G); }"),
            "bad.proto: method S.A uses the group M.G; make it a message of its own");
}

TEST_F(GeneratorTest, NamesThatClash) {
  EXPECT_EQ(ErrorOf(std::string(kHead) + "message SClient {} service S {}"),
            "bad.proto: service p.S needs the class SClient, but something else in the package has "
            "that name; rename one");
  EXPECT_EQ(ErrorOf(std::string(kHead) + "service S { rpc new(M) returns (M); "
                                         "rpc new_(M) returns (M); }"),
            "bad.proto: methods p.S.new and p.S.new_ are both called new_ in C++; rename one");
}

TEST_F(GeneratorTest, Parameters) {
  EXPECT_EQ(Generate("no_package.proto", "fast=yes"),
            "protoc-gen-weft takes no parameters, but got \"fast=yes\"");
}

}  // namespace
}  // namespace weft::rpc::codegen
