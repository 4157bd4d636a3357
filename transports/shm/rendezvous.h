// SPDX-License-Identifier: Apache-2.0
//
// Where ports of one machine meet: a directory of Unix sockets, one for each name and contract.
//
// The permissions of a socket file are the access control: who may write to it may connect. The
// directory must belong to the user who listens there, and nobody else may write to it, or others
// could put sockets of their own in the place of ours.
#ifndef WEFT_TRANSPORTS_SHM_RENDEZVOUS_H_
#define WEFT_TRANSPORTS_SHM_RENDEZVOUS_H_

#include <sys/types.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "weft/config/config.h"
#include "weft/core/unique_fd.h"
#include "weft/transports/shm/session.h"

namespace weft::shm {

class Directory {
 public:
  // Touches nothing yet. InvalidArgument for a mode that is not octal.
  static absl::StatusOr<Directory> FromConfig(const config::Shm& config);

  const std::string& path() const { return path_; }
  mode_t socket_mode() const { return socket_mode_; }
  std::string SocketPath(const std::string& name, Contract contract) const;

  // Makes the directory if it is missing. PermissionDenied unless it is ours alone to write to.
  absl::Status PrepareToListen() const;
  // PermissionDenied if others than its owner may write to it. A missing directory is fine: nobody
  // listens there.
  absl::Status CheckToConnect() const;

 private:
  std::string path_;
  bool is_default_ = true;  // then nobody else may own it, as anybody can make it first
  mode_t socket_mode_ = 0600;
};

// A name that is listened at, by one port or by the queues that share it. Thread-safe.
class Listener {
 public:
  // Replaces the socket that a dead process left. AlreadyExists if a live one listens there;
  // PermissionDenied and InvalidArgument (path too long) say what to do.
  static absl::StatusOr<std::shared_ptr<Listener>> Open(const Directory& directory,
                                                        const std::string& name, Contract contract,
                                                        int backlog, int queues);
  // Removes the socket file.
  ~Listener();

  int fd() const { return socket_.get(); }
  const std::string& name() const { return name_; }
  int queues() const { return static_cast<int>(peers_.size()); }

  // A queue is used by one port at a time: false if it is in use.
  bool TakeQueue(int queue);
  void ReleaseQueue(int queue);

  // Peers are counted for each queue, so that they can be spread evenly.
  void AddPeers(int queue, int change);
  bool LeastLoaded(int queue) const;

 private:
  static constexpr int kNotInUse = -1;
  Listener(const Directory& directory, std::string name, Contract contract, int queues);
  absl::Status Bind(mode_t mode, int backlog);

  const std::string name_;
  const std::string path_;
  const std::string lock_path_;
  UniqueFd socket_;
  ino_t inode_ = 0;  // of the socket file, 0 until there is one
  mutable std::mutex mutex_;
  std::vector<int> peers_;  // of each queue, or kNotInUse
};

// A name for a port that was given none: "client-PID-RANDOM".
std::string MakeClientName();

// Removes the sockets of such names whose processes were killed. A few at a time.
void RemoveStaleClientSockets(const Directory& directory);

}  // namespace weft::shm

#endif  // WEFT_TRANSPORTS_SHM_RENDEZVOUS_H_
