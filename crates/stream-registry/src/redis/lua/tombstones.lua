-- A tombstone has three parts: the operation id, the epoch of the ended stream, and the stream's last record.
-- The parts are separated by line feeds. If the stream had no epoch, the second part is a timestamp.
-- The epoch in a stream's tombstone never decreases, even if the clock goes back.
-- With a lower epoch, a holder that was rejected before could be accepted again.

-- Returns true if the string a is greater than the string b in byte order.
-- The comparison operators of Lua are not used, because their order depends on the server's locale.
local function is_greater(a, b)
  for i = 1, #a do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then return not y or x > y end
  end
  return false
end

-- Returns the tombstone with an epoch that is not lower than the epoch of old_tombstone.
-- The argument old_tombstone is false if the stream has no tombstone yet.
local function with_greater_epoch(tombstone, old_tombstone)
  local old_epoch = old_tombstone and old_tombstone:match('^[^\n]*\n([^\n]*)\n')
  if not old_epoch then return tombstone end
  local operation, epoch, json = tombstone:match('^([^\n]*\n)([^\n]*)(\n.*)$')
  if is_greater(epoch, old_epoch) then return tombstone end
  -- Byte 45 is a hyphen, which ends the timestamp of a stream without an epoch.
  -- Byte 126 is a tilde, which this function appends to an epoch.
  if epoch:byte(-1) == 45 and old_epoch:byte(-1) ~= 126 then old_epoch = old_epoch .. '~' end
  return operation .. old_epoch .. json
end

-- Returns the time to live of a tombstone in ms. It is the longest of three times:
--   the requested time to live
--   three times the remaining time of the record, because the holder's TTL may be longer than the caller's TTL
--   the remaining time of the existing tombstone
local function tombstone_lifetime(requested, record, tombstone)
  local longest = math.max(tonumber(requested), redis.call('PTTL', record) * 3, redis.call('PTTL', tombstone))
  return string.format('%.0f', longest)
end
