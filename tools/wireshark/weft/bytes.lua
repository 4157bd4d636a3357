-- SPDX-License-Identifier: Apache-2.0
--
-- Reading bytes that may not be there: a datagram can be shorter than it ought to be, and a capture
-- may hold less than the datagram had.

return function(weft)
  local bytes = {}
  weft.bytes = bytes

  -- How many bytes there were on the wire, and how many the capture has.
  function bytes.reported(tvb) return tvb:reported_len() end
  function bytes.captured(tvb) return tvb:len() end

  -- Whether the capture has `count` bytes at `offset`.
  function bytes.has(tvb, offset, count) return offset + count <= tvb:len() end

  -- What the capture has of at most `count` bytes at `offset`; nil if nothing.
  function bytes.upto(tvb, offset, count)
    local there = math.min(count, tvb:len() - offset)
    if there <= 0 then return nil end
    return tvb(offset, there)
  end

  -- What the capture has from `offset` on; nil if nothing.
  function bytes.from(tvb, offset) return bytes.upto(tvb, offset, tvb:len()) end

  -- Those bytes as text, which may be the key of a table.
  function bytes.hex(tvb, offset, count) return tvb(offset, count):bytes():tohex() end

  -- A view of `raw`, bytes in a Lua string; nil if it has none.
  function bytes.view(raw, name)
    if #raw == 0 then return nil end
    return ByteArray.new(raw, true):tvb(name)
  end

  -- Adds `text` to `item` as a problem, of a sort among weft.experts.
  function bytes.note(item, expert, text) item:add_proto_expert_info(expert, text) end
end
