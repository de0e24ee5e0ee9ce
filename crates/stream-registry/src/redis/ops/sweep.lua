#!lua flags=allow-oom
-- @use rights
-- @use feed
-- @use due
-- Looks at streams whose time may be over: those that are gone leave index and order of deadlines with one event;
-- of those that will be soon the record is copied aside, since it is the last one unless they are written again.
--
-- KEYS[1]    the index set
-- KEYS[2]    the feed
-- KEYS[3]    its facts
-- KEYS[4]    the order of deadlines
-- KEYS[5..]  for each stream its record and the copy of it
-- ARGV[1]    time to live in ms
-- ARGV[2]    how long before the deadline the record is copied, in ms
-- ARGV[3]    the shortest gap between sweeps in ms after which nothing is reaped for one time to live
-- ARGV[4]    the time in ms after which the index is gone through for streams that are not in the order
-- ARGV[5]    'renew', or 'longer' for a tool whose time to live says nothing of the others'
-- ARGV[6]    the time in ms up to which the caller looks, by its own clock
-- ARGV[7..]  the ids
-- Output     how many are not due any more up to that time; 1 if the caller is to go through the index, else 0;
--            the ids that nobody knew and that have no record
-- Events     expired
local index, feed, facts, due = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local ttl, margin, least, scan_after = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local function text_of(number) return string.format('%.0f', number) end

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local known = redis.pcall('HMGET', facts, 'swept', 'grace', 'scanned', 'ttl', 'confirmed', 'brief', 'brief_confirmed')
if known.err then known = {} end
local swept, grace, scanned = tonumber(known[1] or now), tonumber(known[2] or 0), tonumber(known[3] or 0)
-- The longest and the briefest time to live of those who sweep, until nobody confirms them for as long as the longest.
local longest, confirmed = tonumber(known[4] or 0), tonumber(known[5] or 0)
local briefest, brief_confirmed = tonumber(known[6] or 0), tonumber(known[7] or 0)
local function is_over(moment) return now - moment > longest or now < moment end
if is_over(brief_confirmed) then briefest = 0 end
if is_over(confirmed) then longest = 0 end
if ARGV[5] == 'renew' then
  if ttl >= longest then longest, confirmed = ttl, now end
  if ttl <= briefest or briefest == 0 then briefest, brief_confirmed = ttl, now end
end
-- After an outage those who live come back first. A clock that went back is one, too. By whose time to live is short
-- a gap is an outage sooner than by the others', whoever sees it first; what follows it lasts for the longest.
local gap, most = math.max(least, briefest / 10), now + (longest > 0 and longest or ttl)
if now - swept > gap or now < swept - gap then grace = most end
if grace > most then grace = most end
local scan = now - scanned > scan_after or now < scanned
-- For how long a copy is of use: an outage and the grace after it.
local keep = most - now + 3600000

local events, reaped, gone, copies, kept, next_look, strays = {}, {}, {}, {}, {}, {}, {}
for at = 7, #ARGV do
  local id, record, copy = ARGV[at], KEYS[at * 2 - 9], KEYS[at * 2 - 8]
  local left = redis.call('PTTL', record)
  if left == -1 then
    next_look[#next_look + 1] = { now + ttl, id }
  elseif left > margin then
    next_look[#next_look + 1] = { now + left - margin, id }
  elseif left >= 0 then
    local text = redis.pcall('GET', record)
    if type(text) == 'string' then copies[#copies + 1] = { copy, now .. '\n' .. text, text_of(left + keep) } end
    next_look[#next_look + 1] = { now + left + 1, id }
  else
    local moment = redis.pcall('ZSCORE', due, id)
    -- Another sweep may have been here since the caller looked.
    if type(moment) == 'string' and tonumber(moment) <= now then
      if now < grace then
        next_look[#next_look + 1] = { grace, id }
        kept[#kept + 1] = copy
      else
        events[#events + 1], reaped[#reaped + 1], gone[#gone + 1] = expiry(id, copy), id, copy
      end
    elseif moment == false then
      strays[#strays + 1] = id
    end
  end
end

local fault = forbidden({
  { 'SREM', index, 'id' }, { 'ZREM', due, 'id' }, { 'ZADD', due, '0', 'id' }, { 'PEXPIRE', kept[1] or feed, '1' },
  { 'SET', copies[1] and copies[1][1] or feed, 'text', 'PX', '1' }, appending(feed, facts),
})
if fault then return fault end
if #reaped > 0 then append(feed, facts, events) end
for _, id in ipairs(reaped) do
  -- Where the index is of another type there is nothing to be removed from it.
  redis.pcall('SREM', index, id)
  redis.call('ZREM', due, id)
end
if #gone > 0 then redis.call('DEL', unpack(gone)) end
for _, copy in ipairs(copies) do redis.call('SET', copy[1], copy[2], 'PX', copy[3]) end
for _, copy in ipairs(kept) do redis.call('PEXPIRE', copy, text_of(keep)) end
local settled, until_then = #reaped, tonumber(ARGV[6])
for _, look in ipairs(next_look) do
  look_at(due, text_of(look[1]), look[2])
  if look[1] > until_then then settled = settled + 1 end
end
redis.pcall('HSET', facts, 'swept', text_of(now), 'grace', text_of(grace), 'scanned', text_of(scan and now or scanned),
  'ttl', text_of(longest), 'confirmed', text_of(confirmed), 'brief', text_of(briefest), 'brief_confirmed', text_of(brief_confirmed))
return { settled, scan and 1 or 0, strays }
