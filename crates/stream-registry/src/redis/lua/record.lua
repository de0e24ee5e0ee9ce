-- Finding and changing fields in the raw JSON of a record. Every position that these functions return provably belongs
-- to a top-level field, if the text is valid JSON. Any other record is left to the client, which decodes it.
--
-- Why a literal such as ,"epoch":" is a key and never the inside of a string: inside a string, a quote follows a
-- backslash, and the literal has no room for one. If its first quote ended a string, a bare word would follow, which is
-- not valid JSON.
local find, sub, byte = string.find, string.sub, string.byte
-- Bytes are compared as numbers: 34 is a quote, 92 a backslash, 123 and 125 are braces. Named constants would be
-- created again in every call, once for each function that uses them.

-- Returns whether no object or array begins between the first brace and a position, so that the position is at the top
-- level. A bracket after a quote is inside a string, as in "[2001:db8::1]:5004".
local function flat_until(text, position)
  local at = find(text, '{', 2, true)
  while at and at < position do
    if byte(text, at - 1) ~= 34 then return false end
    at = find(text, '{', at + 1, true)
  end
  at = find(text, '[', 2, true)
  while at and at < position do
    if byte(text, at - 1) ~= 34 then return false end
    at = find(text, '[', at + 1, true)
  end
  return true
end

-- Returns the position of the value of last_heartbeat and the position after it, or nothing.
local function heartbeat(text)
  local at, last = find(text, '","last_heartbeat":"', 1, true)
  if not at or byte(text, 1) ~= 123 or byte(text, #text) ~= 125 then return nil end
  if not flat_until(text, at) then return nil end
  -- The quote that ends the value. If a backslash precedes it, the client has to decode the record.
  local quote = find(text, '"', last + 1, true)
  if not quote or byte(text, quote - 1) == 92 then return nil end
  -- The last of several duplicate fields counts, so there must be no other. The search string begins with a character
  -- that is rare in records; with a quote the search would stop at every field.
  if find(text, '_heartbeat"', quote, true) then return nil end
  return last + 1, quote
end

-- Does the same for nearly all records: those with the fields in our order, without a backslash, and either leased with
-- the given field ,"epoch":"…" or, if that is nil, not leased. Also returns a position before which no object begins.
-- Returns nothing if any of this is uncertain; then the slower functions decide. It uses as few searches as possible,
-- because a search costs as much as a dozen other steps, and every heartbeat calls this.
local function usual(text, field)
  -- The Z that ends created_at is the rarest character of this literal.
  local at, last = find(text, 'Z","last_heartbeat":"', 1, true)
  if not at or find(text, '\\', 1, true) or byte(text, -1) ~= 125 then return nil end
  -- A key belongs to an object. If no object but the record has begun, the key is the record's own.
  local brace, quote = find(text, '{', 2, true), find(text, '"', last + 1, true)
  if brace and brace < at or find(text, '_heartbeat"', quote, true) then return nil end
  if not field then
    if find(text, 'poch"', 1, true) then return nil end
  else
    local begin, past = find(text, field, quote, true)
    if not begin or brace and brace < begin or find(text, 'poch"', past, true) then return nil end
  end
  return last + 1, quote, brace or #text
end

-- Returns the epoch as a string, false if there is none, or nil if the client has to decode the record.
local function epoch_of(text)
  -- A field name may be written with escapes.
  if find(text, '\\u', 1, true) then return nil end
  if not find(text, 'poch"', 1, true) then return false end
  local at, last = find(text, ',"epoch":"', 1, true)
  if not at or not flat_until(text, at) then return nil end
  local quote = find(text, '"', last + 1, true)
  if not quote or byte(text, quote - 1) == 92 or find(text, 'poch"', quote, true) then return nil end
  local epoch = sub(text, last + 1, quote - 1)
  -- The client rejects such an epoch, so it is not one here either.
  if #epoch > 128 or not find(epoch, '^[!-~]+$') or find(epoch, '\\', 1, true) then return nil end
  return epoch
end
