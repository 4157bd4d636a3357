// SPDX-License-Identifier: Apache-2.0
//
// C++ text that looks as if clang-format had been there: comments and declarations of functions, in
// lines of at most 100 columns.
#ifndef WEFT_RPC_CODEGEN_TEXT_H_
#define WEFT_RPC_CODEGEN_TEXT_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"

namespace weft::rpc::codegen {

// A function: `head` is all before the parameters ("virtual Task<void> Run"), `tail` all behind
// them (";"). Ends with a line break.
std::string Function(size_t indent, absl::string_view head,
                     const std::vector<std::string>& parameters, absl::string_view tail);

// `open` elements `close`, such as a row of a table: "{", {"1", "2"}, "},".
std::string List(size_t indent, absl::string_view open, const std::vector<std::string>& elements,
                 absl::string_view close);

// The comment that stands before something in the .proto, as a comment of C++; empty if there is
// none.
template <typename D>
std::string CommentOf(const D& descriptor, size_t indent);

std::string Comment(absl::string_view text, size_t indent);

// A comment of one paragraph, broken into lines between words.
std::string Paragraph(absl::string_view text);

template <typename D>
std::string CommentOf(const D& descriptor, size_t indent) {
  google::protobuf::SourceLocation location;
  if (!descriptor.GetSourceLocation(&location)) return "";
  return Comment(location.leading_comments, indent) + Comment(location.trailing_comments, indent);
}

}  // namespace weft::rpc::codegen

#endif  // WEFT_RPC_CODEGEN_TEXT_H_
