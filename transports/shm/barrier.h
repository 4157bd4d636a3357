// SPDX-License-Identifier: Apache-2.0
//
// The price of sleeping without lost wake-ups, paid by who sleeps.
//
// Who goes to sleep stores "wake me" and then looks once more for data; who sends stores data and
// then looks for "wake me". Between the two steps both need a full barrier, or each may miss what
// the other stored. A sender would pay for it on every burst, though hardly any finds its receiver
// asleep. So the sleeper issues both: membarrier(2) makes every processor that runs a thread of a
// registered process execute one. Whatever a sender had stored before that is then seen by the
// sleeper's look, and a sender that stores later sees "wake me".
#ifndef WEFT_TRANSPORTS_SHM_BARRIER_H_
#define WEFT_TRANSPORTS_SHM_BARRIER_H_

namespace weft::shm {

// Registers this process, once. False if the kernel does not offer it: both sides must then use
// fences, and FullBarrier() is one.
bool BarrierRegistered();

// A full memory barrier of this thread and of all threads of registered processes.
void FullBarrier();

}  // namespace weft::shm

#endif  // WEFT_TRANSPORTS_SHM_BARRIER_H_
