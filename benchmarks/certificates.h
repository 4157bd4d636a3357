// SPDX-License-Identifier: Apache-2.0
//
// Certificates for one run of a benchmark: both sides of a connection prove themselves with them.

#ifndef WEFT_BENCHMARKS_CERTIFICATES_H_
#define WEFT_BENCHMARKS_CERTIFICATES_H_

#include <string>

#include "absl/status/status.h"

namespace weft::benchmarks {

// Writes, in PEM and valid for a day, an authority's certificate `ca.pem`, and the certificates and
// private keys that it has signed: `server.pem` and `server.key` for localhost and 127.0.0.1, and
// `client.pem` and `client.key`. Keys are of ECDSA over P-256. `directory` must exist.
absl::Status WriteCertificates(const std::string& directory);

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_CERTIFICATES_H_
