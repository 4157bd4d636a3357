// SPDX-License-Identifier: Apache-2.0
//
// The XDP program of an interface for as long as somebody uses it.
//
//   SharedProgram shared;                                     // in the transport
//   absl::StatusOr<ProgramUser> user = shared.Use(options);   // in each port
//   (*user)->AddSocket(0, fd);
//
// The first user attaches it, the last one takes it off. Threads: any.
#ifndef WEFT_TRANSPORTS_AFXDP_SHARED_PROGRAM_H_
#define WEFT_TRANSPORTS_AFXDP_SHARED_PROGRAM_H_

#include <memory>
#include <mutex>
#include <utility>

#include "absl/status/statusor.h"
#include "weft/transports/afxdp/xdp_program.h"

namespace weft::afxdp {

class ProgramUser;

// Outlives its users.
class SharedProgram {
 public:
  // `options` matter to the first user only.
  absl::StatusOr<ProgramUser> Use(const XdpProgramOptions& options);

 private:
  friend class ProgramUser;

  std::mutex mutex_;  // held while the program is attached and taken off
  std::unique_ptr<XdpProgram> program_;
  int users_ = 0;
};

class ProgramUser {
 public:
  ProgramUser(ProgramUser&& other) noexcept : shared_(std::exchange(other.shared_, nullptr)) {}
  ProgramUser& operator=(ProgramUser&&) = delete;
  ~ProgramUser() {
    if (shared_ == nullptr) return;
    const std::lock_guard lock(shared_->mutex_);
    if (--shared_->users_ == 0) shared_->program_.reset();
  }
  XdpProgram* operator->() const { return shared_->program_.get(); }

 private:
  friend class SharedProgram;
  explicit ProgramUser(SharedProgram* shared) : shared_(shared) {}
  SharedProgram* shared_;
};

inline absl::StatusOr<ProgramUser> SharedProgram::Use(const XdpProgramOptions& options) {
  const std::lock_guard lock(mutex_);
  if (users_ == 0) {
    absl::StatusOr<std::unique_ptr<XdpProgram>> program = XdpProgram::Attach(options);
    if (!program.ok()) return program.status();
    program_ = *std::move(program);
  }
  ++users_;
  return ProgramUser(this);
}

}  // namespace weft::afxdp

#endif  // WEFT_TRANSPORTS_AFXDP_SHARED_PROGRAM_H_
