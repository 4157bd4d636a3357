-- SPDX-License-Identifier: Apache-2.0
--
-- As much of protocol buffers as the envelope of services needs: fields of bytes in a message, and
-- the services in .proto files. The messages of users are left to Wireshark's own dissector.

return function(weft)
  local protobuf = {}
  weft.protobuf = protobuf

  local VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

  -- The varint at `offset`, if it is below 2^53, and the offset after it; nil if it is cut off.
  function protobuf.varint(tvb, offset)
    local value, scale = 0, 1
    for i = offset, math.min(offset + 10, tvb:len()) - 1 do
      local byte = tvb(i, 1):uint()
      value = value + byte % 128 * scale
      if byte < 128 then return value, i + 1 end
      scale = scale * 128
    end
    return nil
  end

  -- Calls `visit(number, value)` for each field of the message in `tvb`: `value` is a number, or a
  -- range of bytes, or nil for an empty one. Returns false if the message is damaged.
  function protobuf.fields(tvb, visit)
    local offset = 0
    while offset < tvb:len() do
      local tag, length
      tag, offset = protobuf.varint(tvb, offset)
      if tag == nil then return false end
      local number, wire = math.floor(tag / 8), tag % 8
      if wire == VARINT then
        length, offset = protobuf.varint(tvb, offset)
        if length == nil then return false end
        visit(number, length)
      elseif wire == BYTES then
        length, offset = protobuf.varint(tvb, offset)
        if length == nil or offset + length > tvb:len() then return false end
        visit(number, length > 0 and tvb(offset, length) or nil)
        offset = offset + length
      elseif wire == FIXED64 or wire == FIXED32 then
        offset = offset + (wire == FIXED64 and 8 or 4)
        if offset > tvb:len() then return false end
      else
        return false
      end
    end
    return true
  end

  -- Bytes that are readable as such, others in hexadecimal.
  function protobuf.text(range)
    if range == nil then return "" end
    local raw = range:tvb():raw()
    if raw:match("^[\32-\126]*$") then return raw end
    return range:bytes():tohex()
  end

  -- --- .proto files

  local OFFSET, PRIME = UInt64.fromhex("cbf29ce484222325"), UInt64.fromhex("00000100000001b3")

  -- FNV-1a, 64 bits, as 16 hexadecimal digits.
  function protobuf.fnv1a(text)
    local hash = OFFSET
    for i = 1, #text do hash = hash:bxor(UInt64(text:byte(i))) * PRIME end
    return hash:tohex():upper()
  end

  local function full_name(package, name)
    if name:sub(1, 1) == "." then return name:sub(2) end
    if package == "" or name:find(".", 1, true) then return name end
    return package .. "." .. name
  end

  -- Adds the methods that `text` declares to `methods`, by their id.
  function protobuf.read_services(text, methods)
    text = text:gsub("/%*.-%*/", " "):gsub("//[^\n]*", " ")
    local package = text:match("package%s+([%w_.]+)%s*;") or ""
    for service, body in text:gmatch("service%s+([%w_]+)%s*(%b{})") do
      for method, request, response in
        body:gmatch("rpc%s+([%w_]+)%s*%(([^)]*)%)%s*returns%s*%(([^)]*)%)") do
        local name = full_name(package, service) .. "/" .. method
        methods[protobuf.fnv1a(name)] = {
          name = name,
          request = full_name(package, request:gsub("^%s*stream%s", ""):match("[%w_.]+") or ""),
          response = full_name(package, response:gsub("^%s*stream%s", ""):match("[%w_.]+") or ""),
        }
      end
    end
  end

  -- Adds the message in `tvb`, of the type `name`, by Wireshark's own dissector.
  function protobuf.add(tvb, pinfo, tree, name)
    local dissector = Dissector.get("protobuf")
    if dissector == nil or tvb:len() == 0 then return end
    local info, protocol = tostring(pinfo.cols.info), tostring(pinfo.cols.protocol)
    pinfo.private["pb_msg_type"] = "message," .. name
    pcall(dissector.call, dissector, tvb, pinfo, tree)  -- it shows what is malformed, and throws
    pinfo.cols.info, pinfo.cols.protocol = info, protocol
  end
end
