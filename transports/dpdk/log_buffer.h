// SPDX-License-Identifier: Apache-2.0
//
// The newest of what DPDK logged.
#ifndef WEFT_TRANSPORTS_DPDK_LOG_BUFFER_H_
#define WEFT_TRANSPORTS_DPDK_LOG_BUFFER_H_

#include <sys/types.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <string>

namespace weft::dpdk {

// Thread-safe: DPDK's own threads log too.
class LogBuffer {
 public:
  static constexpr size_t kBytesMax = 64 << 10;

  static LogBuffer& Get() {
    static auto* const buffer = new LogBuffer;
    return *buffer;
  }

  // A stream to write to, never closed. `echo`, if not null, gets all of it too.
  FILE* OpenStream(FILE* echo) {
    echo_ = echo;
    cookie_io_functions_t functions = {};
    functions.write = [](void* self, const char* text, size_t bytes) {
      static_cast<LogBuffer*>(self)->Append(text, bytes);
      return static_cast<ssize_t>(bytes);
    };
    return fopencookie(this, "w", functions);
  }

  // Bytes ever written.
  uint64_t end() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return end_;
  }
  std::string Since(uint64_t begin) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto wanted = static_cast<size_t>(std::min<uint64_t>(end_ - begin, text_.size()));
    return text_.substr(text_.size() - wanted);
  }

 private:
  void Append(const char* text, size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (echo_ != nullptr) std::fwrite(text, 1, bytes, echo_);
    end_ += bytes;
    text_.append(text, bytes);
    if (text_.size() > kBytesMax) text_.erase(0, text_.size() - kBytesMax);
  }

  mutable std::mutex mutex_;
  std::string text_;
  uint64_t end_ = 0;
  FILE* echo_ = nullptr;
};

}  // namespace weft::dpdk

#endif  // WEFT_TRANSPORTS_DPDK_LOG_BUFFER_H_
