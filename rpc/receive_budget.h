// SPDX-License-Identifier: Apache-2.0
//
// Room for messages that are being received: a bounded number of buffers, promised a whole message
// at a time, so that messages that have begun can always end and never hold each other up half
// arrived.
//
//   ReceiveBudget budget({.buffers = 4096, .waiting_max = 64}, [](ReceiveBudget::Reservation& r) {
//     TellSenderToGoOn(static_cast<Message*>(r.owner()));
//   });
//   switch (budget.Reserve(packets, &message->reservation)) { ... }
//   message->reservation.Reset();   // delivered, or given up: whichever it was
//
// First come, first served: a message that fits waits behind a larger one that does not, as large
// ones would otherwise wait for ever. One thread; the budget outlives its reservations.
#ifndef WEFT_RPC_RECEIVE_BUDGET_H_
#define WEFT_RPC_RECEIVE_BUDGET_H_

#include <cstddef>
#include <utility>

#include "absl/functional/any_invocable.h"

namespace weft::rpc {

struct ReceiveBudgetOptions {
  size_t buffers = 4096;    // promised at any time, at most
  size_t waiting_max = 64;  // reservations that wait, at most
};

class ReceiveBudget {
 public:
  // What one message has been promised, or waits for. Stays where it is, inside the message.
  class Reservation {
   public:
    // `owner` is for the caller's use.
    explicit Reservation(void* owner = nullptr) : owner_(owner) {}
    Reservation(Reservation&&) = delete;
    Reservation& operator=(Reservation&&) = delete;
    ~Reservation() { Reset(); }

    void* owner() const { return owner_; }
    // Buffers promised; 0 while it waits.
    size_t held() const { return waiting_ ? 0 : buffers_; }
    bool waiting() const { return waiting_; }

    // Gives back all that is held or, if it waits, leaves the queue. Either may make room for
    // others, who are told at once.
    void Reset();
    // Gives back `n` of the buffers held.
    void Release(size_t n);

   private:
    friend class ReceiveBudget;
    ReceiveBudget* budget_ = nullptr;  // while it holds or waits
    Reservation* previous_ = nullptr;
    Reservation* next_ = nullptr;
    void* owner_;
    size_t buffers_ = 0;
    bool waiting_ = false;
  };

  // Called with each reservation that has waited and is held now. It may reserve and release, that
  // one included; whoever gets room because of that is told after it has returned.
  using Granted = absl::AnyInvocable<void(Reservation&)>;

  ReceiveBudget(const ReceiveBudgetOptions& options, Granted granted)
      : options_(options), granted_(std::move(granted)) {}
  ReceiveBudget(ReceiveBudget&&) = delete;
  ReceiveBudget& operator=(ReceiveBudget&&) = delete;
  ~ReceiveBudget();

  enum class Result {
    kReserved,
    kWaits,      // in the queue; `granted` is called when its turn has come
    kTooMany,    // so many wait already: ask again later
    kNeverFits,  // more than there are: no use in asking again
  };
  // Asks for `n` buffers, at least 1. `reservation` neither holds nor waits.
  Result Reserve(size_t n, Reservation* reservation);

  size_t capacity() const { return options_.buffers; }
  size_t in_use() const { return in_use_; }
  size_t waiting() const { return waiting_; }

 private:
  void Unlink(Reservation& reservation);
  void HandOut();

  const ReceiveBudgetOptions options_;
  Granted granted_;
  Reservation* head_ = nullptr;  // has waited longest
  Reservation* tail_ = nullptr;
  size_t waiting_ = 0;
  size_t in_use_ = 0;
  bool handing_out_ = false;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_RECEIVE_BUDGET_H_
