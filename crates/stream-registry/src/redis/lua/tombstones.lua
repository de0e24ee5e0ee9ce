-- A tombstone holds the operation id, a line feed, the epoch of the ended record or a stamp in its place, a line feed,
-- and the last record. Its epoch never decreases, even if the clock goes back: otherwise a holder that was rejected
-- before could be accepted again.

-- Returns whether a > b in byte order. Lua's own order depends on the server's locale.
local function greater(a, b)
  for i = 1, #a do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then return not y or x > y end
  end
  return false
end

-- Returns the tombstone to write in place of an existing one, which may be false.
local function surpassing(tombstone, existing)
  local before = existing and existing:match('^[^\n]*\n([^\n]*)\n')
  if not before then return tombstone end
  local operation, epoch, text = tombstone:match('^([^\n]*\n)([^\n]*)(\n.*)$')
  if greater(epoch, before) then return tombstone end
  -- 45, a hyphen, ends the stamp of a stream without an epoch; 126, a tilde, ends an epoch that was raised here.
  if epoch:byte(-1) == 45 and before:byte(-1) ~= 126 then before = before .. '~' end
  return operation .. before .. text
end

-- Returns the time to live of a tombstone in ms: the requested one, three times the remaining time of the record, or
-- the remaining time of the existing tombstone, whichever is longest. The caller's TTL may differ from the holder's.
local function outliving(requested, record, tombstone)
  local longest = math.max(tonumber(requested), redis.call('PTTL', record) * 3, redis.call('PTTL', tombstone))
  return string.format('%.0f', longest)
end
