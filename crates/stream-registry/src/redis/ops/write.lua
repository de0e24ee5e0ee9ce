#!lua flags=allow-oom
-- @use leading
-- @use rights
-- Heartbeats, statuses and statistics of many streams, each record changed in place as text.
--
-- KEYS[1]     the index set
-- KEYS[2..]   a record for each write, none of them twice
-- ARGV[1]     the length of the prefix
-- ARGV[2]     now, RFC 3339
-- ARGV[3]     time to live in ms
-- ARGV[4]     'renew' or 'longer'
-- ARGV[5..]   for each write: its verb with its guard, then its values
--             verb   'h' heartbeat; 's' status: the status as the inside of a JSON string;
--                    't' statistics: bitrate, "bytes_received":…,"packets_received":…,"packets_lost":…;
--                    'T' statistics: as 't', then frame_rate, rtt_ms, jitter_ms, packets_retransmitted,
--                    packets_dropped, viewers, each '' where not given; 'g' nothing here: the client wants the text
--             guard  nothing: not leased; '*': any; '=' and an epoch: that one
-- Output      'OK' if all are done, or for each write: 1 done; 0 no such stream; -1 not the holder;
--             -2 the key holds no string; the record's text where the client has to make the change
-- Events      none
local index, now, ttl, policy = KEYS[1], ARGV[2], ARGV[3], ARGV[4]
local id_from = tonumber(ARGV[1]) + 1

-- A change is a place, the text that goes there and the place after what it replaces; without a place it is
-- for the client. Functions are made where they are needed: making them costs as much as a small call.

local function stats(text, from, to, at, verb)
  local _, last = find(text, '","bitrate":', to, true)
  if not last or not flat_until(text, last) then return nil end
  local rate, rate_end, tail = text:match(
    '^%d+,"frame_rate":()[%d.eE+-]+(),"bytes_received":%d+,"packets_received":%d+,"packets_lost":%d+()[,}]', last + 1)
  if not rate then return nil end
  if tail < #text and (find(text, 'bitrate"', tail, true) or find(text, 'frame_rate"', tail, true) or
      find(text, 'bytes_received"', tail, true) or find(text, 'packets_received"', tail, true) or
      find(text, 'packets_lost"', tail, true)) then
    return nil
  end
  local frame_rate, rest = sub(text, rate, rate_end - 1), ''
  if verb == 'T' then
    local PLAIN = '[^"\\]*'
    local NAMES = { 'rtt_ms', 'jitter_ms', 'packets_retransmitted', 'packets_dropped', 'viewers' }

    -- The place after the labels, if they stand at a place; that place if none do; nothing where that is for
    -- the client. Label by label: a brace may stand in a text.
    local function after_labels(here)
      local inside = text:match('^,"labels":{()', here)
      if not inside then return here end
      local mark
      repeat
        inside, mark = text:match('^"' .. PLAIN .. '":"' .. PLAIN .. '"()([,}])', inside)
        if not inside then return nil end
        inside = inside + 1
      until mark == '}'
      return inside
    end

    if ARGV[at + 2] ~= '' then frame_rate = ARGV[at + 2] end
    local past = text:match('^,"node":"' .. PLAIN .. '"()', tail) or tail
    past = text:match('^,"epoch":"' .. PLAIN .. '"()', past) or past
    past = after_labels(past)
    if not past then return nil end
    past = text:match('^,"audio_codec":"' .. PLAIN .. '"()', past) or past
    for _, name in ipairs(NAMES) do
      if find(sub(text, 1, tail), name .. '"', 1, true) then return nil end
    end
    local parts = { sub(text, tail, past - 1) }
    for i, name in ipairs(NAMES) do
      local value, after = text:match('^,"' .. name .. '":([%d.eE+-]+)()', past)
      past = after or past
      if ARGV[at + 2 + i] ~= '' then value = ARGV[at + 2 + i] end
      if value then parts[#parts + 1] = ',"' .. name .. '":' .. value end
    end
    local first = sub(text, past, past)
    if first ~= ',' and first ~= '}' then return nil end
    for _, name in ipairs(NAMES) do
      if find(text, name .. '"', past, true) then return nil end
    end
    rest, tail = table.concat(parts), past
  end
  return from, now .. sub(text, to, last) .. ARGV[at] .. ',"frame_rate":' .. frame_rate .. ',' .. ARGV[at + 1] .. rest, tail
end

-- First all answers and new texts, then all writes: a fault on the way leaves everything as it was.
local texts = redis.call('MGET', unpack(KEYS, 2))
-- What keeps its length is set in place, other records are set whole; so is a single one, which one command does.
local keys, ids, places, parts, done = {}, {}, {}, {}, 0
local whole = {}
local answers, at = nil, 5
for i, text in ipairs(texts) do
  local verb, guard, answer = ARGV[at], '', 1
  if #verb > 1 then verb, guard = sub(verb, 1, 1), sub(verb, 2) end
  at = at + 1
  if not text then
    -- MGET says nothing of a key of another type either.
    answer = redis.call('EXISTS', KEYS[i + 1]) == 1 and -2 or 0
  else
    local from, to, epoch
    if verb ~= 'g' then from, to = heartbeat(text) end
    if from then epoch = epoch_of(text) end
    if epoch == nil then
      answer = text
    elseif guard == '*' or guard == '' and not epoch or epoch and guard == '=' .. epoch then
      local place, part, past
      if verb == 'h' then
        place, part, past = from, now, to
      elseif verb == 's' then
        local begin, last = find(text, '","status":"', 1, true)
        local quote = begin and last < from and find(text, '"', last + 1, true)
        if quote and byte(text, quote - 1) ~= BACKSLASH and not find(text, '"status"', quote, true) then
          place, part, past = last + 1, ARGV[at] .. sub(text, quote, from - 1) .. now, to
        end
      else
        place, part, past = stats(text, from, to, at, verb)
      end
      if place then
        local key = KEYS[i + 1]
        done = done + 1
        keys[done], ids[done] = key, sub(key, id_from)
        if #part == past - place and #texts > 1 then
          places[done], parts[done] = place - 1, part
        else
          places[done] = false
          whole[#whole + 1] = key
          whole[#whole + 1] = sub(text, 1, place - 1) .. part .. sub(text, past)
        end
      else
        answer = text
      end
    else
      answer = -1
    end
  end
  if answer ~= 1 and not answers then
    answers = {}
    for before = 1, i - 1 do answers[before] = 1 end
  end
  if answers then answers[i] = answer end
  if verb == 's' then at = at + 1 elseif verb == 't' then at = at + 2 elseif verb == 'T' then at = at + 8 end
end
if done == 0 then return answers end

-- The index heals: who is alive and not in it goes back.
local missing = {}
for i, member in ipairs(redis.call('SMISMEMBER', index, unpack(ids))) do
  if member == 0 then missing[#missing + 1] = ids[i] end
end
local longer = policy == 'longer'
if #texts == 1 and #missing == 0 and not longer then
  -- One command cannot be done by half: nothing is to be asked first.
  redis.call('SET', whole[1], whole[2], 'PX', ttl)
  return redis.status_reply('OK')
end
local commands = { { 'PEXPIRE', keys[1], ttl } }
if #missing > 0 then commands[2] = { 'SADD', index, 'id' } end
if done * 2 > #whole then commands[#commands + 1] = { 'SETRANGE', keys[1], '0', now } end
if #whole > 0 then commands[#commands + 1] = { longer and 'SET' or 'MSET', keys[1], 'text' } end
local fault = forbidden(commands)
if fault then return fault end
if #missing > 0 then redis.call('SADD', index, unpack(missing)) end
if longer then
  for i = 1, #whole, 2 do redis.call('SET', whole[i], whole[i + 1], 'KEEPTTL') end
elseif #whole > 0 then
  redis.call('MSET', unpack(whole))
end
for i = 1, done do
  -- As a text: Redis would print a number with seventeen digits in mind, which takes longer than the change.
  if places[i] then redis.call('SETRANGE', keys[i], string.format('%d', places[i]), parts[i]) end
  -- GT: a key that lives longer, or for ever, stays so.
  if longer then redis.call('PEXPIRE', keys[i], ttl, 'GT') else redis.call('PEXPIRE', keys[i], ttl) end
end
return answers or redis.status_reply('OK')
