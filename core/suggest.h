// SPDX-License-Identifier: Apache-2.0
//
// Ends an error message about a name that nobody knows with the one that was probably meant.

#ifndef WEFT_CORE_SUGGEST_H_
#define WEFT_CORE_SUGGEST_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace weft {

// "; did you mean 'x'?" for the name in `known` that is nearest to `name` by Levenshtein's
// distance, or "; known are x, y, z" if none is near.
std::string Suggest(absl::string_view name, const std::vector<std::string>& known);

}  // namespace weft

#endif  // WEFT_CORE_SUGGEST_H_
