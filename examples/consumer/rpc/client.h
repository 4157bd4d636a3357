// SPDX-License-Identifier: Apache-2.0

// A project's own rpc/client.h, beside weft's "weft/rpc/client.h".

#ifndef RPC_CLIENT_H_
#define RPC_CLIENT_H_

namespace consumer {

inline const char* OwnClient() { return "own rpc/client.h"; }

}  // namespace consumer

#endif  // RPC_CLIENT_H_
