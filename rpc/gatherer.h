// SPDX-License-Identifier: Apache-2.0
//
// Something that gathers small messages, so that many share a packet, and hands them to its client
// or server at the last moment: when that is about to send.
//
//   class Log : public rpc::Gatherer {
//     void Add(Line line) { lines_.push_back(line); Want(); }
//     void Flush() override { client_.Call(server_, Pack(lines_), ...); }
//   };
//   client.Add(&log);
//
// So what is alone goes at once, and what comes together goes together. A loop does not sleep while
// anything waits to be flushed. One thread: that of the client or server.
#ifndef WEFT_RPC_GATHERER_H_
#define WEFT_RPC_GATHERER_H_

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

namespace weft::rpc {

class Gatherer {
 public:
  virtual ~Gatherer() = default;
  bool wanted() const { return wanted_; }

 protected:
  // Flush() will be called, once, before packets leave next.
  void Want() { wanted_ = true; }
  virtual void Flush() = 0;
  // A session of the client has been opened.
  virtual void OnSession() {}
  // The server has begun to drain: it takes no new requests any more.
  virtual void OnDrain() {}

 private:
  friend class Gatherers;
  bool wanted_ = false;
};

// Those of a client or a server. Not for users.
class Gatherers {
 public:
  void Add(Gatherer* gatherer) { all_.push_back(gatherer); }
  void Remove(Gatherer* gatherer) { std::erase(all_, gatherer); }

  bool wanted() const {
    return std::any_of(all_.begin(), all_.end(), [](const Gatherer* g) { return g->wanted(); });
  }
  void TellOfDraining() {
    for (size_t i = 0; i < all_.size(); ++i) all_[i]->OnDrain();
  }
  void TellOfSession() {
    for (size_t i = 0; i < all_.size(); ++i) all_[i]->OnSession();
  }
  // By index: what is flushed may add others.
  void Flush() {
    for (size_t i = 0; i < all_.size(); ++i) {
      if (std::exchange(all_[i]->wanted_, false)) all_[i]->Flush();
    }
  }

 private:
  std::vector<Gatherer*> all_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_GATHERER_H_
