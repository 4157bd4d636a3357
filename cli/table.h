// SPDX-License-Identifier: Apache-2.0
#ifndef WEFT_CLI_TABLE_H_
#define WEFT_CLI_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace weft::cli {

// What of a name may go to a terminal: anything but printable ASCII, with which a peer could move
// the cursor or worse, becomes '?'.
std::string Printable(absl::string_view text);

// Rows of as many cells each, in columns; the first `texts` columns are aligned left, the others
// right.
std::vector<std::string> TableLines(const std::vector<std::vector<std::string>>& rows,
                                    size_t texts = SIZE_MAX);

// Prints such lines to standard output.
void PrintTable(const std::vector<std::vector<std::string>>& rows);

}  // namespace weft::cli

#endif  // WEFT_CLI_TABLE_H_
