#!lua flags=allow-oom
-- @use leading
-- @use preflight
-- Heartbeats, statuses and statistics of many streams, each record changed in place as text.
--
-- KEYS[1]     the index set
-- KEYS[2..]   a record for each write; one may come several times
-- ARGV[1]     the length of the prefix
-- ARGV[2]     now, RFC 3339 with nine digits
-- ARGV[3]     time to live in ms
-- ARGV[4]     'renew' or 'longer'
-- ARGV[5..]   for each write: its verb, its guard, its values
--             verb   'h' heartbeat; 's' status: the status as the inside of a JSON string;
--                    't' statistics: bitrate, "bytes_received":…,"packets_received":…,"packets_lost":…;
--                    'T' statistics: as 't', then frame_rate, rtt_ms, jitter_ms, packets_retransmitted,
--                    packets_dropped, viewers, each '' where not given; 'g' nothing here: the client wants the text
--             guard  '' not leased; 'f' any; 'h' and an epoch: that one
-- Output      'OK' if all are done, or for each write: 1 done; 0 no such stream; -1 not the holder;
--             -2 the key holds no string; the record's text where the client has to make the change
-- Events      none
local index, now, ttl, policy = KEYS[1], ARGV[2], ARGV[3], ARGV[4]
local id_from = tonumber(ARGV[1]) + 1
local VALUES = { h = 0, s = 1, t = 2, T = 8, g = 0 }
local OPTIONAL = { 'rtt_ms', 'jitter_ms', 'packets_retransmitted', 'packets_dropped', 'viewers' }

-- Returns the place after the labels, if they stand at a place and are plain; that place itself if none stand
-- there; nothing where that is for the client. Label by label: a brace may stand in a text.
local function after_labels(rest, at)
  local here = rest:match('^,"labels":{()', at)
  if not here then return at end
  local sep
  repeat
    here, sep = rest:match('^"' .. PLAIN .. '":"' .. PLAIN .. '"()([,}])', here)
    if not here then return nil end
    here = here + 1
  until sep == '}'
  return here
end

-- Returns the text with new statistics, or nothing where that is for the client.
local function with_stats(text, he, at, verb)
  local bb, be, fb, fe, cb, tail = text:match(MIDDLE, he)
  if not bb then return nil end
  local rate = verb == 'T' and ARGV[at + 2] ~= '' and ARGV[at + 2] or text:sub(fb, fe - 1)
  local rest = text:sub(tail)
  if verb == 'T' then
    local after = rest:match('^,"node":"' .. PLAIN .. '"()') or 1
    after = rest:match('^,"epoch":"' .. PLAIN .. '"()', after) or after
    after = after_labels(rest, after)
    if not after then return nil end
    after = rest:match('^,"audio_codec":"' .. PLAIN .. '"()', after) or after
    local parts, from = { rest:sub(1, after - 1) }, after
    for i, name in ipairs(OPTIONAL) do
      local value, next_from = rest:match('^,"' .. name .. '":([%d.eE+-]+)()', from)
      from = next_from or from
      if ARGV[at + 2 + i] ~= '' then value = ARGV[at + 2 + i] end
      if value then parts[#parts + 1] = ',"' .. name .. '":' .. value end
    end
    local left = rest:sub(from)
    if left ~= '}' then
      for _, name in ipairs(OPTIONAL) do
        if again(left, name, 1) then return nil end
      end
    end
    parts[#parts + 1] = left
    rest = table.concat(parts)
  end
  if #text > tail and (again(text, 'bitrate', tail) or again(text, 'frame_rate', tail) or
      again(text, 'bytes_received', tail) or again(text, 'packets_received', tail) or again(text, 'packets_lost', tail)) then
    return nil
  end
  return text:sub(he, bb - 1) .. ARGV[at] .. ',"frame_rate":' .. rate .. ',' .. ARGV[at + 1] .. rest
end

-- First all answers and new texts, then all writes: a fault on the way leaves everything as it was.
local count = #KEYS - 1
local texts = {}
for first = 1, count, 1000 do
  local chunk = redis.call('MGET', unpack(KEYS, first + 1, math.min(first + 1000, count + 1)))
  for i = 1, #chunk do texts[first + i - 1] = chunk[i] end
end
local latest, pending, order, answers, all_done, at = {}, {}, {}, {}, true, 5
for i = 1, count do
  local key, verb, guard = KEYS[i + 1], ARGV[at], ARGV[at + 1]
  at = at + 2
  local text, answer, new = latest[key], nil, nil
  if text == nil then text = texts[i] end
  if not text then
    -- MGET says nothing of a key of another type either.
    answer = redis.call('EXISTS', key) == 1 and -2 or 0
  elseif type(text) == 'table' then
    -- An earlier write of this call to the same stream is the client's to make: so is this one.
    answer = text[1]
  else
    local sb, se, hb, he = head(text, key:sub(id_from))
    local epoch
    if sb and verb ~= 'g' and not again(text, 'last_heartbeat', he) then epoch = epoch_of(text, he) end
    if epoch ~= nil then
      if guard == 'f' or guard == '' and not epoch or epoch and guard == 'h' .. epoch then
        if verb == 'h' then
          new = text:sub(1, hb - 1) .. now .. text:sub(he)
        elseif verb == 's' then
          if not again(text, 'status', he) then
            new = text:sub(1, sb - 1) .. ARGV[at] .. text:sub(se, hb - 1) .. now .. text:sub(he)
          end
        else
          local rest = with_stats(text, he, at, verb)
          new = rest and text:sub(1, hb - 1) .. now .. rest
        end
      else
        answer = -1
      end
    end
    if new then
      answer = 1
      if not pending[key] then order[#order + 1] = key end
      pending[key], latest[key] = new, new
    elseif not answer then
      answer, latest[key] = text, { text }
    end
  end
  if answer ~= 1 then all_done = false end
  answers[i] = answer
  at = at + VALUES[verb]
end

local lives
if policy == 'longer' then
  lives = {}
  for _, key in ipairs(order) do lives[key] = lifetime(key, ttl, policy) end
end
-- The index heals: who is alive and not in it goes back.
for first = 1, #order, 1000 do
  local ids, missing = {}, {}
  for i = first, math.min(first + 999, #order) do ids[#ids + 1] = order[i]:sub(id_from) end
  for i, member in ipairs(redis.call('SMISMEMBER', index, unpack(ids))) do
    if member == 0 then missing[#missing + 1] = ids[i] end
  end
  if #missing > 0 then
    local fault = forbidden({ { 'SADD', index, 'id' }, { 'SET', order[1], 'text', 'PX', ttl } })
    if fault then return fault end
    redis.call('SADD', index, unpack(missing))
  end
end
for _, key in ipairs(order) do
  if lives then
    redis.call('SET', key, pending[key], unpack(lives[key]))
  else
    redis.call('SET', key, pending[key], 'PX', ttl)
  end
end
return all_done and redis.status_reply('OK') or answers
