#!lua flags=allow-oom
-- @use record
-- @use permissions
-- @use feed
-- Applies heartbeats, statuses and statistics to many streams. Each record is changed in place, as raw JSON.
--
-- KEYS[1]     the index set
-- KEYS[2]     the feed
-- KEYS[3]     the feed metadata
-- KEYS[4..]   a record for each write, no record twice
-- ARGV[1]     length of the prefix
-- ARGV[2]     now, RFC 3339
-- ARGV[3]     time to live in ms
-- ARGV[4]     'renew' or 'longer'
-- ARGV[5..]   for each write: its verb and guard in one string, then its values; writes past the last argument are 'h'
--             verb   'h' heartbeat; 's' status: the status as the inside of a JSON string;
--                    't' statistics: bitrate, "bytes_received":…,"packets_received":…,"packets_lost":…;
--                    'g' no change: the client needs the record
--             guard  nothing: not leased; '*': any; '=': leased with the field that follows, ,"epoch":"…"
--             A heartbeat of a leased stream is that field alone.
-- Output      'OK' if all are done, or for each write: 1 done; 0 no such stream; -1 not the holder; -2 the key does not
--             hold a string; the record if the client has to make the change
-- Events      status, if it was another one before
local format = string.format
local KEYS, ARGV, call = KEYS, ARGV, redis.call
local index, feed, metadata = KEYS[1], KEYS[2], KEYS[3]
local now, ttl, longer = ARGV[2], ARGV[3], ARGV[4] == 'longer'
local id_from = tonumber(ARGV[1]) + 1
-- Positions in ARGV: of the current write, of its values, and of the next write.
local at, values, after = 5, 6, 6

-- The functions below return an answer, or nil and a change: a position, the string to put there, the position after
-- the replaced part, and true if this is an event. If the answer is the record itself, the client makes the change.

-- @use write/stats

-- Returns the answer or change of the current write, and moves on to the next.
local function change(text, key)
  local word, field = ARGV[at] or 'h', false
  -- 103 is g, 104 h, 115 s, 116 t; 42 is an asterisk, 61 an equals sign.
  local verb, guard = byte(word, 1, 2)
  values = at + 1
  if #word > 2 then
    verb, field = 104, word
  elseif guard == 61 then
    field, values = ARGV[values], values + 1
  end
  after = values + (verb == 115 and 1 or verb == 116 and 2 or 0)
  -- MGET also returns nil for a key of another type.
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
  if verb ~= 115 then return stats(text, from, to, flat or 0) end
  local begin, last = find(text, ',"status":"', 1, true)
  local quote = begin and last < from and find(text, '"', last + 1, true)
  if not quote or not flat and byte(text, quote - 1) == 92 or find(text, 'tatus"', quote, true) then return text end
  -- An unchanged status only renews the time.
  if sub(text, last + 1, quote - 1) == ARGV[values] then return nil, from, now, to end
  return nil, last + 1, ARGV[values] .. sub(text, quote, from - 1) .. now, to, true
end

local texts = call('MGET', unpack(KEYS, 4))

-- Fast path: a single write without an event needs no tables.
if #texts == 1 and not longer then
  local text, key = texts[1], KEYS[4]
  local answer, position, part, past, event = change(text, key)
  if answer then return { answer } end
  if not event and call('SMISMEMBER', index, sub(key, id_from))[1] == 1 then
    if #part == past - position then
      call('SETRANGE', key, format('%d', position - 1), part)
      local renewed = redis.pcall('PEXPIRE', key, ttl)
      if type(renewed) == 'table' then
        -- The user may not run PEXPIRE. Restoring the record costs less than a permission check before each heartbeat.
        call('SETRANGE', key, '0', text)
        return renewed
      end
    else
      call('SET', key, sub(text, 1, position - 1) .. part .. sub(text, past), 'PX', ttl)
    end
    return redis.status_reply('OK')
  end
end

-- All answers and changes are computed before the first write, so an error leaves everything unchanged.
-- A record that does not shrink is changed in place. One that shrinks is set as a whole, and its position is false.
local ids, positions, parts, done, shrunk, events = {}, {}, {}, 0, false, {}
local answers
for i = 1, #texts do
  local text, key, word = texts[i], KEYS[i + 3], ARGV[at]
  local answer, position, part, past, event
  -- Most writes are heartbeats of usual records.
  if text and (not word or #word > 2) then position, past = usual(text, word) end
  if position then
    part, after = now, at + 1
  else
    answer, position, part, past, event = change(text, key)
  end
  at = after
  if not answer then
    done = done + 1
    ids[done] = sub(key, id_from)
    if event then
      -- The event holds the previous record, because building the new one would dominate the cost of this script.
      events[#events + 1] = { 'w', 'status', 'i', ids[done], 'r', text, 's', ARGV[values], 'n', now }
    end
    local grown = #part - past + position
    if grown > 0 then
      part = part .. sub(text, past)
    elseif grown < 0 then
      position, part, shrunk = false, sub(text, 1, position - 1) .. part .. sub(text, past), true
    end
    positions[i], parts[i] = position, part
  elseif not answers then
    answers = {}
    for before = 1, i - 1 do answers[before] = 1 end
  end
  if answers then answers[i] = answer or 1 end
end
if done == 0 then return answers end

-- Live streams that are missing from the index are added again.
local missing = {}
local members = call('SMISMEMBER', index, unpack(ids))
for i = 1, done do
  if members[i] == 0 then missing[#missing + 1] = ids[i] end
end
local commands = { { 'PEXPIRE', KEYS[4], ttl }, { 'SETRANGE', KEYS[4], '0', now } }
if #missing > 0 then commands[3] = { 'SADD', index, 'id' } end
if shrunk then commands[#commands + 1] = { 'SET', KEYS[4], 'text' } end
local fault = forbidden(commands) or #events > 0 and forbidden({ appending(feed, metadata) })
if fault then return fault end
if #events > 0 then append(feed, metadata, events) end
if #missing > 0 then call('SADD', index, unpack(missing)) end
local offsets = {}
for i = 1, #texts do
  local key, position, part = KEYS[i + 3], positions[i], parts[i]
  if position then
    -- Passed as a string, because Redis formats numbers with 17 digits, which takes longer than the change itself.
    local offset = offsets[position]
    if not offset then
      offset = format('%d', position - 1)
      offsets[position] = offset
    end
    call('SETRANGE', key, offset, part)
  elseif part then
    call('SET', key, part, 'KEEPTTL')
  end
  if part then
    -- GT keeps a longer remaining time, and keys without expiry.
    if longer then call('PEXPIRE', key, ttl, 'GT') else call('PEXPIRE', key, ttl) end
  end
end
return answers or redis.status_reply('OK')
