#!lua flags=allow-oom
-- @use leading
-- @use rights
-- @use feed
-- Heartbeats, statuses and statistics of many streams, each record changed in place as text.
--
-- KEYS[1]     the index set
-- KEYS[2]     the feed
-- KEYS[3]     its facts
-- KEYS[4..]   a record for each write, none of them twice
-- ARGV[1]     the length of the prefix
-- ARGV[2]     now, RFC 3339
-- ARGV[3]     time to live in ms
-- ARGV[4]     'renew' or 'longer'
-- ARGV[5..]   for each write: its verb with its guard, then its values; past the last one all are 'h'
--             verb   'h' heartbeat; 's' status: the status as the inside of a JSON string;
--                    't' statistics: bitrate, "bytes_received":…,"packets_received":…,"packets_lost":…;
--                    'T' statistics: as 't', then frame_rate, rtt_ms, jitter_ms, packets_retransmitted,
--                    packets_dropped, viewers, each '' where not given; 'g' nothing here: the client wants the text
--             guard  nothing: not leased; '*': any; '=': as the field that follows, ,"epoch":"…"
--             A heartbeat of a lease is that field alone.
-- Output      'OK' if all are done, or for each write: 1 done; 0 no such stream; -1 not the holder;
--             -2 the key holds no string; the record's text where the client has to make the change
-- Events      status, where it was another one before
local format = string.format
local KEYS, ARGV, call = KEYS, ARGV, redis.call
local index, feed, facts = KEYS[1], KEYS[2], KEYS[3]
local now, ttl, longer = ARGV[2], ARGV[3], ARGV[4] == 'longer'
local id_from = tonumber(ARGV[1]) + 1
-- Where the write at hand begins, where its values do, and where the next one does.
local at, values, after = 5, 6, 6

-- The functions return an answer, or nil and a change: a place, the text that goes there and the place after
-- what it replaces, and true where that is an event. A record's own text as the answer leaves the change to the client.

local function stats(text, from, to, flat, optional)
  local _, last = find(text, '","bitrate":', to, true)
  if not last or last > flat and not flat_until(text, last) then return text end
  local rate, rate_end, tail = text:match(
    '^%d+,"frame_rate":()[%d.eE+-]+(),"bytes_received":%d+,"packets_received":%d+,"packets_lost":%d+()[,}]', last + 1)
  if not rate then return text end
  -- The ends of their names are enough to see that none comes twice.
  if tail < #text and (find(text, 'rate"', tail, true) or find(text, '_received"', tail, true) or
      find(text, '_lost"', tail, true)) then
    return text
  end
  local frame_rate, rest = sub(text, rate, rate_end - 1), ''
  if optional then
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

    if ARGV[values + 2] ~= '' then frame_rate = ARGV[values + 2] end
    local past = text:match('^,"node":"' .. PLAIN .. '"()', tail) or tail
    past = text:match('^,"epoch":"' .. PLAIN .. '"()', past) or past
    past = after_labels(past)
    if not past then return text end
    past = text:match('^,"audio_codec":"' .. PLAIN .. '"()', past) or past
    for _, name in ipairs(NAMES) do
      if find(sub(text, 1, tail), name .. '"', 1, true) then return text end
    end
    local parts = { sub(text, tail, past - 1) }
    for i, name in ipairs(NAMES) do
      local value, behind = text:match('^,"' .. name .. '":([%d.eE+-]+)()', past)
      past = behind or past
      if ARGV[values + 2 + i] ~= '' then value = ARGV[values + 2 + i] end
      if value then parts[#parts + 1] = ',"' .. name .. '":' .. value end
    end
    local first = sub(text, past, past)
    if first ~= ',' and first ~= '}' then return text end
    for _, name in ipairs(NAMES) do
      if find(text, name .. '"', past, true) then return text end
    end
    rest, tail = table.concat(parts), past
  end
  return nil, from,
    now .. sub(text, to, last) .. ARGV[values] .. ',"frame_rate":' .. frame_rate .. ',' .. ARGV[values + 1] .. rest, tail
end

local function change(text, key)
  local word, field = ARGV[at] or 'h', false
  -- 84 is T, 103 g, 104 h, 115 s, 116 t; 42 is the star, 61 the equals sign.
  local verb, guard = byte(word, 1, 2)
  values = at + 1
  if #word > 2 then
    verb, field = 104, word
  elseif guard == 61 then
    field, values = ARGV[values], values + 1
  end
  after = values + (verb == 115 and 1 or verb == 116 and 2 or verb == 84 and 8 or 0)
  -- MGET says nothing of a key of another type either.
  if not text then return redis.call('EXISTS', key) == 1 and -2 or 0 end
  if verb == 103 then return text end
  local from, to, flat
  if guard ~= 42 then from, to, flat = usual(text, field) end
  if not from then
    from, to = heartbeat(text)
    if not from then return text end
    local epoch = epoch_of(text)
    if epoch == nil then return text end
    if guard ~= 42 and (epoch and ',"epoch":"' .. epoch .. '"') ~= field then return -1 end
  end
  if verb == 104 then return nil, from, now, to end
  if verb ~= 115 then return stats(text, from, to, flat or 0, verb == 84) end
  local begin, last = find(text, ',"status":"', 1, true)
  local quote = begin and last < from and find(text, '"', last + 1, true)
  if not quote or not flat and byte(text, quote - 1) == 92 or find(text, 'tatus"', quote, true) then return text end
  -- The same again changes the time alone.
  if sub(text, last + 1, quote - 1) == ARGV[values] then return nil, from, now, to end
  return nil, last + 1, ARGV[values] .. sub(text, quote, from - 1) .. now, to, true
end

local texts = call('MGET', unpack(KEYS, 4))

-- A single one that is no event needs no lists.
if #texts == 1 and not longer then
  local text, key = texts[1], KEYS[4]
  local answer, place, part, past, event = change(text, key)
  if answer then return { answer } end
  if not event and call('SMISMEMBER', index, sub(key, id_from))[1] == 1 then
    if #part == past - place then
      call('SETRANGE', key, format('%d', place - 1), part)
      local renewed = redis.pcall('PEXPIRE', key, ttl)
      if type(renewed) == 'table' then
        -- Refused: the record is as it was, which costs less than to ask before each heartbeat.
        call('SETRANGE', key, '0', text)
        return renewed
      end
    else
      call('SET', key, sub(text, 1, place - 1) .. part .. sub(text, past), 'PX', ttl)
    end
    return redis.status_reply('OK')
  end
end

-- First all answers and new texts, then all writes: a fault on the way leaves everything as it was.
-- A record that does not shrink is set in place, another one whole: then its place is false.
local ids, places, parts, done, shrunk, events = {}, {}, {}, 0, false, {}
local answers
for i = 1, #texts do
  local text, key, word = texts[i], KEYS[i + 3], ARGV[at]
  local answer, place, part, past, event
  -- Most are heartbeats of records as usual.
  if text and (not word or #word > 2) then place, past = usual(text, word) end
  if place then
    part, after = now, at + 1
  else
    answer, place, part, past, event = change(text, key)
  end
  at = after
  if not answer then
    done = done + 1
    ids[done] = sub(key, id_from)
    if event then
      -- With the text from before: to make one as long as the record takes longer than all else here.
      events[#events + 1] = { 'w', 'status', 'i', ids[done], 'r', text, 's', ARGV[values], 'n', now }
    end
    local grown = #part - past + place
    if grown > 0 then
      part = part .. sub(text, past)
    elseif grown < 0 then
      place, part, shrunk = false, sub(text, 1, place - 1) .. part .. sub(text, past), true
    end
    places[i], parts[i] = place, part
  elseif not answers then
    answers = {}
    for before = 1, i - 1 do answers[before] = 1 end
  end
  if answers then answers[i] = answer or 1 end
end
if done == 0 then return answers end

-- The index heals: who is alive and not in it goes back.
local missing = {}
local members = call('SMISMEMBER', index, unpack(ids))
for i = 1, done do
  if members[i] == 0 then missing[#missing + 1] = ids[i] end
end
local commands = { { 'PEXPIRE', KEYS[4], ttl }, { 'SETRANGE', KEYS[4], '0', now } }
if #missing > 0 then commands[3] = { 'SADD', index, 'id' } end
if shrunk then commands[#commands + 1] = { 'SET', KEYS[4], 'text' } end
local fault = forbidden(commands) or #events > 0 and forbidden({ appending(feed, facts) })
if fault then return fault end
if #events > 0 then append(feed, facts, events) end
if #missing > 0 then call('SADD', index, unpack(missing)) end
local offsets = {}
for i = 1, #texts do
  local key, place, part = KEYS[i + 3], places[i], parts[i]
  if place then
    -- As a text: Redis would print a number with seventeen digits in mind, which takes longer than the change.
    local offset = offsets[place]
    if not offset then
      offset = format('%d', place - 1)
      offsets[place] = offset
    end
    call('SETRANGE', key, offset, part)
  elseif part then
    call('SET', key, part, 'KEEPTTL')
  end
  if part then
    -- GT: a key that lives longer, or for ever, stays so.
    if longer then call('PEXPIRE', key, ttl, 'GT') else call('PEXPIRE', key, ttl) end
  end
end
return answers or redis.status_reply('OK')
