-- A tombstone has three parts, separated by line feeds: the operation id; the epoch of the ended record, or a timestamp
-- if the record had no epoch; and the last record. The epoch never decreases, even if the clock goes back. Otherwise a
-- holder that was rejected before could be accepted again.

-- Returns true if a > b in byte order. Lua's own order depends on the server's locale.
local function is_greater(a, b)
  for i = 1, #a do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then return not y or x > y end
  end
  return false
end

-- Returns the tombstone with an epoch that is at least that of old_tombstone, which is false if there is none.
local function with_greater_epoch(tombstone, old_tombstone)
  local old_epoch = old_tombstone and old_tombstone:match('^[^\n]*\n([^\n]*)\n')
  if not old_epoch then return tombstone end
  local operation, epoch, json = tombstone:match('^([^\n]*\n)([^\n]*)(\n.*)$')
  if is_greater(epoch, old_epoch) then return tombstone end
  -- A hyphen (45) ends the timestamp of a stream without an epoch. A tilde (126) ends an epoch that was raised here.
  if epoch:byte(-1) == 45 and old_epoch:byte(-1) ~= 126 then old_epoch = old_epoch .. '~' end
  return operation .. old_epoch .. json
end

-- Returns the time to live of a tombstone in ms: the requested one, three times the remaining time of the record, or
-- the remaining time of the existing tombstone, whichever is longest. The caller's TTL may differ from the holder's.
local function tombstone_lifetime(requested, record, tombstone)
  local longest = math.max(tonumber(requested), redis.call('PTTL', record) * 3, redis.call('PTTL', tombstone))
  return string.format('%.0f', longest)
end
