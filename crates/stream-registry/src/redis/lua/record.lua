-- Functions that find fields in the raw JSON of a record. If the JSON is valid, each position that they return belongs
-- to a top-level field. They return nil if that is uncertain; then the client decodes the record.
--
-- A literal such as ,"epoch":" is always a key, never a part of a string. Inside a string every quote follows a
-- backslash, and the literal contains none. If the literal's first quote ended a string, the next token would be the
-- bare word epoch, which is not valid JSON.
local find, sub, byte = string.find, string.sub, string.byte
-- Bytes are compared as numbers: 34 is a quote, 92 a backslash, 123 and 125 are braces. Named constants would be
-- created again in every call, once for each function that uses them.

-- Returns true if no object or array begins between the first brace and a position, so that the position is at the top
-- level. An opening bracket directly after a quote is inside a string, as in "[2001:db8::1]:5004".
local function is_top_level(json, position)
  local bracket = find(json, '{', 2, true)
  while bracket and bracket < position do
    if byte(json, bracket - 1) ~= 34 then return false end
    bracket = find(json, '{', bracket + 1, true)
  end
  bracket = find(json, '[', 2, true)
  while bracket and bracket < position do
    if byte(json, bracket - 1) ~= 34 then return false end
    bracket = find(json, '[', bracket + 1, true)
  end
  return true
end

-- Returns the position at which the value of last_heartbeat begins and the position after its end, or nil.
local function find_heartbeat(json)
  local from, to = find(json, '","last_heartbeat":"', 1, true)
  if not from or byte(json, 1) ~= 123 or byte(json, #json) ~= 125 then return nil end
  if not is_top_level(json, from) then return nil end
  -- The quote that ends the value. If a backslash precedes it, the client has to decode the record.
  local quote = find(json, '"', to + 1, true)
  if not quote or byte(json, quote - 1) == 92 then return nil end
  -- If a field occurs twice, JSON decoders use the second one. So the record must not contain this field again. The
  -- search string begins with an underscore, which is rare in records. A search for a quote would stop at every field.
  if find(json, '_heartbeat"', quote, true) then return nil end
  return to + 1, quote
end

-- Returns the same as find_heartbeat, but only for a canonical record: its fields are in our order, and it has no
-- backslash. It must be leased with the given field ,"epoch":"…", or not be leased if epoch_field is nil or false.
-- If any of this is uncertain, returns nil, and the slower functions decide. The third result is a position; every key
-- before it is at the top level.
-- Every heartbeat calls this function, so it uses few searches. One search costs as much as a dozen other steps.
local function find_canonical_heartbeat(json, epoch_field)
  -- The search string begins with the Z that ends created_at, because Z is its rarest character.
  local from, to = find(json, 'Z","last_heartbeat":"', 1, true)
  if not from or find(json, '\\', 1, true) or byte(json, -1) ~= 125 then return nil end
  -- If no other object has begun before a key, the key belongs to the record itself.
  local brace, quote = find(json, '{', 2, true), find(json, '"', to + 1, true)
  if brace and brace < from or find(json, '_heartbeat"', quote, true) then return nil end
  if not epoch_field then
    if find(json, 'poch"', 1, true) then return nil end
  else
    local field_from, field_end = find(json, epoch_field, quote, true)
    if not field_from or brace and brace < field_from or find(json, 'poch"', field_end, true) then return nil end
  end
  return to + 1, quote, brace or #json
end

-- Returns the epoch as a string, false if the record has none, or nil if the client has to decode the record.
local function epoch_of(json)
  -- An escape could hide a field name, so the client decodes the record.
  if find(json, '\\u', 1, true) then return nil end
  if not find(json, 'poch"', 1, true) then return false end
  local from, to = find(json, ',"epoch":"', 1, true)
  if not from or not is_top_level(json, from) then return nil end
  local quote = find(json, '"', to + 1, true)
  if not quote or byte(json, quote - 1) == 92 or find(json, 'poch"', quote, true) then return nil end
  local epoch = sub(json, to + 1, quote - 1)
  -- The client rejects an epoch of another form.
  if #epoch > 128 or not find(epoch, '^[!-~]+$') or find(epoch, '\\', 1, true) then return nil end
  return epoch
end
