-- Reading and changing records as text. What is found is proven to be the top-level field, given that the
-- text is valid JSON; what is not found is left to the client, which decodes it.
--
-- Why a literal like ,"epoch":" is a key and never the inside of a string: a quote inside a string has a
-- backslash before it, which these literals leave no room for; were its first quote the end of a string,
-- a bare word would follow, which is not JSON.
local find, sub, byte = string.find, string.sub, string.byte
-- Bytes are written as numbers: 34 is a quote, 92 a backslash, 123 and 125 are braces. A name for each would be
-- made anew in every call, by each function that uses it.

-- Whether no object or array begins between the first brace and a place: then the place is at the top
-- level. A bracket after a quote is inside a string, as in "[2001:db8::1]:5004".
local function flat_until(text, place)
  local at = find(text, '{', 2, true)
  while at and at < place do
    if byte(text, at - 1) ~= 34 then return false end
    at = find(text, '{', at + 1, true)
  end
  at = find(text, '[', 2, true)
  while at and at < place do
    if byte(text, at - 1) ~= 34 then return false end
    at = find(text, '[', at + 1, true)
  end
  return true
end

-- Returns where the text value of last_heartbeat begins and the place after it, or nothing.
local function heartbeat(text)
  local at, last = find(text, '","last_heartbeat":"', 1, true)
  if not at or byte(text, 1) ~= 123 or byte(text, #text) ~= 125 then return nil end
  if not flat_until(text, at) then return nil end
  -- The quote that ends the text, unless a backslash is before it: that takes a closer look.
  local quote = find(text, '"', last + 1, true)
  if not quote or byte(text, quote - 1) == 92 then return nil end
  -- Of doubled fields the last counts, so there must be no other. What is looked for begins with a character
  -- that is rare in records: a quote would make the search stop at every field.
  if find(text, '_heartbeat"', quote, true) then return nil end
  return last + 1, quote
end

-- The same for nearly all records: in our order, without a backslash, leased with this field, ,"epoch":"…", or not
-- leased where that is nil. Returns also up to where no object begins. Nothing where any of that is not so for
-- certain: then the others look. All of it in as few searches as can be, since each costs as much as a dozen other
-- steps, and every heartbeat asks.
local function usual(text, field)
  -- No other letter of it is as rare in records as the Z that ends created_at.
  local at, last = find(text, 'Z","last_heartbeat":"', 1, true)
  if not at or find(text, '\\', 1, true) or byte(text, -1) ~= 125 then return nil end
  -- A key is in an object: while none but the record has begun, it is the record's own.
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

-- Returns the epoch: a text, false for none, nil where the client has to look.
local function epoch_of(text)
  -- A name may be written with escapes.
  if find(text, '\\u', 1, true) then return nil end
  if not find(text, 'poch"', 1, true) then return false end
  local at, last = find(text, ',"epoch":"', 1, true)
  if not at or not flat_until(text, at) then return nil end
  local quote = find(text, '"', last + 1, true)
  if not quote or byte(text, quote - 1) == 92 or find(text, 'poch"', quote, true) then return nil end
  local epoch = sub(text, last + 1, quote - 1)
  -- What is no epoch for the client is none here.
  if #epoch > 128 or not find(epoch, '^[!-~]+$') or find(epoch, '\\', 1, true) then return nil end
  return epoch
end
