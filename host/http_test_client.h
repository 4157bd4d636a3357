// SPDX-License-Identifier: Apache-2.0
//
// Raw requests to an HTTP server of this machine, for tests.
#ifndef WEFT_HOST_HTTP_TEST_CLIENT_H_
#define WEFT_HOST_HTTP_TEST_CLIENT_H_

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "weft/core/unique_fd.h"

namespace weft {

// `address` is "127.0.0.1:PORT".
inline UniqueFd ConnectTo(const std::string& address) {
  int port = 0;
  EXPECT_TRUE(absl::SimpleAtoi(address.substr(address.rfind(':') + 1), &port)) << address;
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(port));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0)
      << std::strerror(errno);
  return fd;
}

inline void Put(const UniqueFd& fd, const std::string& bytes) {
  EXPECT_EQ(send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(bytes.size()));
}

// Everything until the server closes.
inline std::string Get(const UniqueFd& fd) {
  std::string all;
  char bytes[65536];
  while (true) {
    const ssize_t n = recv(fd.get(), bytes, sizeof(bytes), 0);
    if (n < 0) absl::StrAppend(&all, "<", std::strerror(errno), ">");
    if (n <= 0) return all;
    all.append(bytes, static_cast<size_t>(n));
  }
}

inline std::string AskHttp(const std::string& address, const std::string& request) {
  const UniqueFd fd = ConnectTo(address);
  Put(fd, request);
  return Get(fd);
}

}  // namespace weft

#endif  // WEFT_HOST_HTTP_TEST_CLIENT_H_
