#!lua flags=allow-oom
-- @use permissions
-- @use feed
-- @use due
-- Checks streams that may have expired. Removes expired ones from the index and the schedule, with one event each.
-- Copies the record of a stream that expires soon, because it is the last record unless the stream is written again.
--
-- KEYS[1]    the index set
-- KEYS[2]    the feed
-- KEYS[3]    the feed metadata
-- KEYS[4]    the schedule of the sweep
-- KEYS[5..]  for each stream its record and the copy of it
-- ARGV[1]    time to live in ms
-- ARGV[2]    remaining time in ms below which a record is copied
-- ARGV[3]    shortest gap between sweeps in ms that counts as an outage, after which nothing is removed for one TTL
-- ARGV[4]    interval in ms after which the index is scanned for streams that are not in the schedule
-- ARGV[5]    'renew'; 'longer' for a tool whose TTL says nothing about the other writers' TTL
-- ARGV[6]    time in ms of the check, by the caller's clock
-- ARGV[7..]  the ids
-- Output     how many streams are no longer due at that time; 1 if the caller should scan the index, else 0; the ids
--            that are not in the schedule and have no record
-- Events     expired
local index, feed, metadata, due = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local ttl, margin, outage_gap, scan_after = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local function to_string(number) return string.format('%.0f', number) end

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local known = redis.pcall('HMGET', metadata, 'swept', 'grace', 'scanned', 'ttl', 'confirmed', 'brief', 'brief_confirmed')
if known.err then known = {} end
local swept, grace, scanned = tonumber(known[1] or now), tonumber(known[2] or 0), tonumber(known[3] or 0)
-- The longest and the shortest TTL of the sweeping processes. Each is dropped if no process confirms it for as long as
-- the longest TTL.
local longest, confirmed = tonumber(known[4] or 0), tonumber(known[5] or 0)
local shortest, shortest_confirmed = tonumber(known[6] or 0), tonumber(known[7] or 0)
local function is_stale(time) return now - time > longest or now < time end
if is_stale(shortest_confirmed) then shortest = 0 end
if is_stale(confirmed) then longest = 0 end
if ARGV[5] == 'renew' then
  if ttl >= longest then longest, confirmed = ttl, now end
  if ttl <= shortest or shortest == 0 then shortest, shortest_confirmed = ttl, now end
end
-- After an outage, nothing is removed during a grace period, so that live streams can be written again first. A clock
-- that goes back counts as an outage. The shortest TTL decides which gap is an outage, the longest TTL how long the
-- grace period lasts.
local gap, grace_limit = math.max(outage_gap, shortest / 10), now + (longest > 0 and longest or ttl)
if now - swept > gap or now < swept - gap then grace = grace_limit end
if grace > grace_limit then grace = grace_limit end
local scan_due = now - scanned > scan_after or now < scanned
-- How long a copy is useful: during an outage and the grace period after it.
local copy_ttl = grace_limit - now + 3600000

local events, expired, gone, copies, kept, next_checks, strays = {}, {}, {}, {}, {}, {}, {}
for at = 7, #ARGV do
  local id, record, copy = ARGV[at], KEYS[at * 2 - 9], KEYS[at * 2 - 8]
  local left = redis.call('PTTL', record)
  if left == -1 then
    next_checks[#next_checks + 1] = { now + ttl, id }
  elseif left > margin then
    next_checks[#next_checks + 1] = { now + left - margin, id }
  elseif left >= 0 then
    local text = redis.pcall('GET', record)
    if type(text) == 'string' then copies[#copies + 1] = { copy, now .. '\n' .. text, to_string(left + copy_ttl) } end
    next_checks[#next_checks + 1] = { now + left + 1, id }
  else
    local time = redis.pcall('ZSCORE', due, id)
    -- Another sweep may have handled the stream since the caller read the schedule.
    if type(time) == 'string' and tonumber(time) <= now then
      if now < grace then
        next_checks[#next_checks + 1] = { grace, id }
        kept[#kept + 1] = copy
      else
        events[#events + 1], expired[#expired + 1], gone[#gone + 1] = expiry(id, copy), id, copy
      end
    elseif time == false then
      strays[#strays + 1] = id
    end
  end
end

local fault = forbidden({
  { 'SREM', index, 'id' }, { 'ZREM', due, 'id' }, { 'ZADD', due, '0', 'id' }, { 'PEXPIRE', kept[1] or feed, '1' },
  { 'SET', copies[1] and copies[1][1] or feed, 'text', 'PX', '1' }, appending(feed, metadata),
})
if fault then return fault end
if #expired > 0 then append(feed, metadata, events) end
for _, id in ipairs(expired) do
  -- If the index key holds another type, there is nothing to remove.
  redis.pcall('SREM', index, id)
  redis.call('ZREM', due, id)
end
if #gone > 0 then redis.call('DEL', unpack(gone)) end
for _, copy in ipairs(copies) do redis.call('SET', copy[1], copy[2], 'PX', copy[3]) end
for _, copy in ipairs(kept) do redis.call('PEXPIRE', copy, to_string(copy_ttl)) end
local settled, checked_at = #expired, tonumber(ARGV[6])
for _, check in ipairs(next_checks) do
  schedule_check(due, to_string(check[1]), check[2])
  if check[1] > checked_at then settled = settled + 1 end
end
redis.pcall('HSET', metadata, 'swept', to_string(now), 'grace', to_string(grace),
  'scanned', to_string(scan_due and now or scanned), 'ttl', to_string(longest), 'confirmed', to_string(confirmed),
  'brief', to_string(shortest), 'brief_confirmed', to_string(shortest_confirmed))
return { settled, scan_due and 1 or 0, strays }
