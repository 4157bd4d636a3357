-- SPDX-License-Identifier: Apache-2.0
--
-- Secured datagrams: shown as what they are; only their two ends can open them.

return function(weft)
  local secure = {}
  weft.secure = secure
  function secure.is_likely(tvb) return false end
  function secure.is_secured(tvb) return false end
end
