// SPDX-License-Identifier: Apache-2.0
//
// afxdp_program.bpf.c as the compiler made it, an ELF object: generated.
#ifndef WEFT_TRANSPORTS_AFXDP_AFXDP_PROGRAM_BYTES_H_
#define WEFT_TRANSPORTS_AFXDP_AFXDP_PROGRAM_BYTES_H_

#include <cstddef>

namespace weft::afxdp {

extern const unsigned char kProgramBytes[];
extern const size_t kProgramBytesSize;

}  // namespace weft::afxdp

#endif  // WEFT_TRANSPORTS_AFXDP_AFXDP_PROGRAM_BYTES_H_
