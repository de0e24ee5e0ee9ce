-- Records in our own spelling, read and written as text. Everything here is anchored: a match is proof
-- that the place found is the top-level field, given that the text is valid JSON. What does not match is
-- left to the client, which decodes it.
local PLAIN = '[^"\\]*'
local HEAD = '","type":"' .. PLAIN .. '","source_addr":"' .. PLAIN .. '","status":"()' .. PLAIN ..
  '()","created_at":"' .. PLAIN .. '","last_heartbeat":"()%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%d%d%d%d%d%d%dZ()"'
local HEAD_ANY = '^{"id":"' .. PLAIN .. HEAD
local HEAD_AFTER = '^' .. HEAD
local MIDDLE = '^","video_codec":"' .. PLAIN .. '","resolution":"' .. PLAIN .. '","bitrate":()%d+(),"frame_rate":()[%d.eE+-]+' ..
  '(),"bytes_received":()%d+,"packets_received":%d+,"packets_lost":%d+()[,}]'
-- What the client takes for an epoch, as far as it can stand without escapes: visible ASCII.
local EPOCH = '[!#-Z%[%]^-~]+'

-- Returns status begin and end, heartbeat begin and end (each end is the place after), or nothing.
local function head(text, id)
  local sb, se, hb, he = text:match(HEAD_ANY)
  if sb then return sb, se, hb, he end
  if not id:find('["\\]') then return nil end
  local start = '{"id":"' .. id:gsub('["\\]', '\\%0')
  if text:sub(1, #start) ~= start then return nil end
  return text:match(HEAD_AFTER, #start + 1)
end

-- Whether a field of this name may stand somewhere from a place on. Escaped names are another matter: who
-- asks has made sure that there is no '\u' from there on.
local function again(text, name, from)
  return text:find('"' .. name .. '"', from, true)
end

-- Returns the epoch of a record whose head ends at a place: a text, false for none, nil for "ask the client".
local function epoch_of(text, he)
  if text:find('\\u', he, true) then return nil end
  if not again(text, 'epoch', he) then return false end
  local at = select(6, text:match(MIDDLE, he))
  if not at then return nil end
  at = text:match('^,"node":"' .. PLAIN .. '"()', at) or at
  local epoch, after = text:match('^,"epoch":"(' .. EPOCH .. ')"()', at)
  if not epoch or #epoch > 128 or again(text, 'epoch', after) then return nil end
  return epoch
end
