-- A tombstone is the epoch of a stream that was unregistered or taken over. If the stream had no epoch, it is a
-- timestamp. The epoch in a stream's tombstone never decreases, even if the clock goes back.
-- With a lower epoch, a holder that was rejected before could be accepted again.

-- Returns the string at a key, or false if the key is missing or holds a value of another type.
-- A value of another type counts as missing, because it must not fail the other streams in the same call.
local function get_string(key)
  local value = redis.pcall('GET', key)
  if type(value) ~= 'table' then return value end
  if value.err:find('WRONGTYPE', 1, true) then return false end
  error(value)
end

local too_great = ('~'):rep(100)

-- Returns the epoch in a tombstone, or nil if the tombstone counts as missing. Epochs consist of visible ASCII
-- characters, of which the tilde is the greatest. No new epoch could be greater than a tombstone with other characters,
-- or with many tildes at its start.
local function readable_epoch(tombstone)
  if not tombstone or tombstone:find('[^!-~]') or tombstone:sub(1, 100) == too_great then return nil end
  return tombstone
end

-- Returns true if the string a is greater than the string b in byte order.
-- The comparison operators of Lua are not used, because their order depends on the server's locale.
local function is_greater(a, b)
  for i = 1, #a do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then return not y or x > y end
  end
  return false
end

-- Returns the epoch for a tombstone. The epoch is not lower than old_epoch, the epoch in the existing tombstone.
-- The argument old_epoch is false or nil if the stream has no tombstone yet.
local function greater_epoch(epoch, old_epoch)
  if not old_epoch or is_greater(epoch, old_epoch) then return epoch end
  -- Byte 45 is a hyphen, which ends the timestamp of a stream without an epoch.
  -- Byte 126 is a tilde, which this function appends to an epoch.
  if epoch:byte(-1) == 45 and old_epoch:byte(-1) ~= 126 then return old_epoch .. '~' end
  return old_epoch
end

-- Returns the time to live of a tombstone in ms. It is the longest of three times:
--   the requested time to live
--   three times the remaining time of the record, because the holder's TTL may be longer than the caller's TTL
--   the remaining time of the existing tombstone
-- The argument old_epoch is false or nil if the stream has no tombstone yet.
local function tombstone_lifetime(requested, record_key, tombstone_key, old_epoch)
  local remaining = old_epoch and redis.call('PTTL', tombstone_key) or 0
  return string.format('%.0f', math.max(tonumber(requested), redis.call('PTTL', record_key) * 3, remaining))
end
