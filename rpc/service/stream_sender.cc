// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/service/stream_sender.h"

#include <algorithm>

namespace weft::rpc {

bool StreamSender::MakeRoom(size_t needed) {
  if (over_) return false;
  if (end_ != begin_) {
    if (!CanSend()) return false;
    Send();
    if (over_) return false;
  }
  // The batch is empty. Which length is right may have become known just now.
  const size_t packet = std::min(BatchBytes(), blocks_.bytes() - kHeadBytes);
  const bool large = needed > packet;
  if (block_ == nullptr || large || large_) {
    if (block_ != nullptr && !large_) blocks_.Return(std::move(block_));
    block_ =
        large ? std::make_unique_for_overwrite<uint8_t[]>(kHeadBytes + needed) : blocks_.Take();
    large_ = large;
  }
  begin_ = end_ = block_.get() + kHeadBytes;
  limit_ = begin_ + (large ? needed : packet);
  return true;
}

void StreamSender::Send() {
  Outgoing batch = {.block = std::move(block_),
                    .bytes = static_cast<size_t>(end_ - begin_),
                    .large = large_,
                    .last = closing_};
  closing_ = false;
  begin_ = end_ = limit_ = nullptr;
  large_ = false;
  TellObserver();
  if (batch.block == nullptr) batch.block = blocks_.Take();
  SendBatch(std::move(batch));
}

void StreamSender::TellObserver() {
  if (observer_ == nullptr) return;
  observer_->OnMessagesOut(messages_ - told_messages_, message_bytes_ - told_bytes_);
  told_messages_ = messages_;
  told_bytes_ = message_bytes_;
}

void StreamSender::Close() {
  if (over_) return;
  over_ = closing_ = true;
  limit_ = end_;
  if (!std::exchange(flush_wanted_, true)) WantFlush();
}

void StreamSender::OnRoom() {
  if (!empty() && CanSend()) Send();
  // A batch that is empty takes any message.
  if (room_ != nullptr && (over_ || end_ == begin_)) StreamWaiter::Wake(room_);
}

void StreamSender::Stop() {
  if (block_ != nullptr && !large_) blocks_.Return(std::move(block_));
  block_.reset();
  begin_ = end_ = limit_ = nullptr;
  over_ = true;
  closing_ = large_ = false;
  observer_ = nullptr;
}

void StreamSender::Reset() {
  Stop();
  over_ = flush_wanted_ = false;
  messages_ = message_bytes_ = told_messages_ = told_bytes_ = 0;
}

}  // namespace weft::rpc
