// SPDX-License-Identifier: Apache-2.0
#ifndef WEFT_CLI_TABLE_H_
#define WEFT_CLI_TABLE_H_

#include <string>
#include <vector>

namespace weft::cli {

// Prints rows of as many cells each to standard output, in columns.
void PrintTable(const std::vector<std::vector<std::string>>& rows);

}  // namespace weft::cli

#endif  // WEFT_CLI_TABLE_H_
