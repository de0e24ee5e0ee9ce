-- These functions find fields in the raw JSON of a record, without decoding the JSON.
-- If the JSON is valid, each position that these functions return belongs to a top-level field.
-- If a position is uncertain, these functions return nil. The client then decodes the record.
--
-- The search string ,"epoch":" matches only a key, never a part of a string in the JSON.
-- Inside a string, every quote follows a backslash, but the search string contains no backslash.
-- The first quote of the search string cannot be the end of a string either.
-- In that case, the bare word epoch would follow the string, which is not valid JSON.
local find, sub, byte = string.find, string.sub, string.byte
-- Bytes are compared as numbers: 34 is a quote, 92 is a backslash, 123 is {, and 125 is }.
-- Named constants would be slower, because Lua would create them again in every call of the script.

-- Returns true if a position is at the top level of the record.
-- A position is at the top level if no object or array begins between the first brace and the position.
-- A brace or bracket directly after a quote is inside a string, for example in "[2001:db8::1]:5004".
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

-- Returns the position of the value of last_heartbeat and the position after this value.
-- Returns nil if the positions are uncertain.
local function find_heartbeat(json)
  local from, to = find(json, '","last_heartbeat":"', 1, true)
  if not from or byte(json, 1) ~= 123 or byte(json, #json) ~= 125 then return nil end
  if not is_top_level(json, from) then return nil end
  -- This quote ends the value. If a backslash precedes the quote, the client has to decode the record.
  local quote = find(json, '"', to + 1, true)
  if not quote or byte(json, quote - 1) == 92 then return nil end
  -- If a field occurs twice, JSON decoders use the second occurrence. So this field must not occur again.
  -- The search string begins with an underscore, which is rare in records.
  -- A search string that begins with a quote would be slower, because every field contains quotes.
  if find(json, '_heartbeat"', quote, true) then return nil end
  return to + 1, quote
end

-- Returns the same as find_heartbeat, but only for a canonical record.
-- The fields of a canonical record are in the order of this crate's encoder, and the record contains no backslash.
-- The argument epoch_field is the field ,"epoch":"…" of the expected lease, or false or nil if no lease is expected.
-- Returns nil if the record may not be canonical or may have another lease. The slower functions then decide.
-- The third result is a position. Every key before this position is at the top level.
-- Every heartbeat calls this function. It makes few searches, because one search costs as much as a dozen other steps.
local function find_canonical_heartbeat(json, epoch_field)
  -- The search string begins with the Z at the end of created_at. A search is fast if its first character is rare.
  local from, to = find(json, 'Z","last_heartbeat":"', 1, true)
  if not from or find(json, '\\', 1, true) or byte(json, -1) ~= 125 then return nil end
  -- A key belongs to the record itself if no inner object begins before the key.
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

-- Returns the epoch of a record as a string, or false if the record has no epoch.
-- Returns nil if the epoch is uncertain and the client has to decode the record.
local function epoch_of(json)
  -- A Unicode escape could hide the name of a field, so the client has to decode the record.
  if find(json, '\\u', 1, true) then return nil end
  if not find(json, 'poch"', 1, true) then return false end
  local from, to = find(json, ',"epoch":"', 1, true)
  if not from or not is_top_level(json, from) then return nil end
  local quote = find(json, '"', to + 1, true)
  if not quote or byte(json, quote - 1) == 92 or find(json, 'poch"', quote, true) then return nil end
  local epoch = sub(json, to + 1, quote - 1)
  -- The client rejects an epoch that is too long or contains other characters.
  if #epoch > 128 or not find(epoch, '^[!-~]+$') or find(epoch, '\\', 1, true) then return nil end
  return epoch
end
