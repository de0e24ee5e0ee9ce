#!lua flags=allow-oom
-- @use permissions
-- @use feed
-- @use repair
-- @use due
-- Checks streams that may have expired.
-- Removes each expired stream from the index and from the schedule, and adds an event to the feed.
-- Copies the record of each stream that expires soon, so that the event of an expired stream can contain the record.
--
-- KEYS[1]    key of the index, the set of active stream ids
-- KEYS[2]    key of the change feed, a Redis stream
-- KEYS[3]    key of the feed metadata, a hash
-- KEYS[4]    key of the sweep's schedule: stream ids, sorted by the time of their next check
-- KEYS[5..]  two keys for each stream: its record, and the sweep's copy of the record
-- ARGV[1]    time to live of a stream in ms
-- ARGV[2]    remaining time to live in ms; the sweep copies a record that has this time or less left
-- ARGV[3]    maximum gap in ms between two sweeps if the shortest TTL is between 3 and 10 times this long
-- ARGV[4]    interval in ms between scans of the index for streams that are not in the schedule
-- ARGV[5]    TTL policy: 'renew', or 'longer' for a tool that keeps no streams alive and whose TTL is ignored
-- ARGV[6]    time of this check in Unix ms, by the caller's clock
-- ARGV[7]    number of shards, which is stored if it is missing; empty if the registry has no shards
-- ARGV[8]    name of the function that assigns stream ids to shards; empty if the registry has no shards
-- ARGV[9..]  ids of the streams to check
-- Output     a list with four elements:
--            the number of checked streams that are no longer due at the time in ARGV[6]
--            1 if the caller should scan the index, otherwise 0
--            the list of ids that have no record and are not in the schedule
--            the shortest TTL in ms of all processes that sweep; 0 if it is not known
-- Events     expired, once for each expired stream
--            If the feed is damaged and no stream has expired, a marker without an event repairs the feed.
local index_key, feed_key, metadata_key, due_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local ttl, copy_margin, medium_gap = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local scan_after = tonumber(ARGV[4])

local function to_string(number) return string.format('%.0f', number) end

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local fields = redis.pcall('HMGET', metadata_key,
  'swept', 'grace', 'scanned', 'ttl', 'confirmed', 'brief', 'brief_confirmed', 'shards', 'function')
if fields.err then fields = {} end
-- Returns a field of the metadata as a number, or the default if another program has stored something else.
local function field(index, default)
  local number = tonumber(fields[index] or '')
  -- NaN is not equal to itself.
  return number == number and number or default
end
local swept_at, grace_ends_at, scanned_at = field(1, now_ms), field(2, 0), field(3, 0)
-- The feed metadata contains the longest and the shortest TTL of all processes that sweep.
-- A TTL is forgotten if no process confirms it within the longest TTL.
local longest, longest_confirmed_at = field(4, 0), field(5, 0)
local shortest, shortest_confirmed_at = field(6, 0), field(7, 0)
local function is_stale(confirmed_at) return now_ms - confirmed_at > longest or now_ms < confirmed_at end
if is_stale(shortest_confirmed_at) then shortest = 0 end
if is_stale(longest_confirmed_at) then longest = 0 end
if ARGV[5] == 'renew' then
  if ttl >= longest then longest, longest_confirmed_at = ttl, now_ms end
  if ttl <= shortest or shortest == 0 then shortest, shortest_confirmed_at = ttl, now_ms end
end
-- After an outage, no stream is removed during a grace period, so that holders can renew their streams first.
-- A clock that goes back also counts as an outage.
-- The shortest TTL decides which gap between sweeps is an outage. This maximum gap is never less than a tenth of a TTL.
-- So a grace period of ten times the gap is at least the TTL of each stream that is in danger after the gap.
local longest_known, shortest_known = longest > 0 and longest or ttl, shortest > 0 and shortest or ttl
local basis = shortest > 0 and shortest or math.min(ttl, medium_gap * 3)
local max_gap, gap = math.max(basis / 10, math.min(basis / 3, medium_gap)), math.abs(now_ms - swept_at)
local grace_limit, max_delay = now_ms + longest_known, math.max(longest_known - copy_margin, longest_known / 2)
if gap > max_gap then grace_ends_at = math.max(grace_ends_at, now_ms + 10 * gap) end
if grace_ends_at > grace_limit then grace_ends_at = grace_limit end
local scan_due = now_ms - scanned_at > scan_after or now_ms < scanned_at
-- A copy of a record must survive an outage of up to an hour and the grace period that follows the outage.
local copy_ttl = grace_limit - now_ms + 3600000

local events, expired, next_checks, missing = {}, {}, {}, {}
local expired_copies, new_copies, extended_copies = {}, {}, {}
for argument = 9, #ARGV do
  local id, record_key, copy_key = ARGV[argument], KEYS[argument * 2 - 13], KEYS[argument * 2 - 12]
  local remaining = redis.call('PTTL', record_key)
  if remaining == -1 then
    -- The next write gives this record a TTL. The record is checked again before that TTL has passed.
    next_checks[#next_checks + 1] = { now_ms + shortest_known / 2, id }
  elseif remaining > copy_margin then
    -- A tool may have extended the remaining time. The holder's next write shortens it again.
    next_checks[#next_checks + 1] = { now_ms + math.min(remaining - copy_margin, max_delay), id }
  elseif remaining >= 0 then
    local json = redis.pcall('GET', record_key)
    if type(json) == 'string' then
      new_copies[#new_copies + 1] = { copy_key, now_ms .. '\n' .. json, to_string(remaining + copy_ttl) }
    end
    next_checks[#next_checks + 1] = { now_ms + remaining + 1, id }
  else
    local scheduled = redis.pcall('ZSCORE', due_key, id)
    -- The schedule is read again, because another process may have handled the stream in the meantime.
    if type(scheduled) == 'string' and tonumber(scheduled) <= now_ms then
      if now_ms < grace_ends_at then
        next_checks[#next_checks + 1] = { grace_ends_at, id }
        extended_copies[#extended_copies + 1] = copy_key
      else
        events[#events + 1], expired[#expired + 1] = expiry_event(id, copy_key), id
        expired_copies[#expired_copies + 1] = copy_key
      end
    elseif scheduled == false then
      missing[#missing + 1] = id
    end
  end
end

require_permission('SREM', index_key, 'id')
require_permission('ZREM', due_key, 'id')
require_permission('ZADD', due_key, '0', 'id')
require_permission('PEXPIRE', extended_copies[1] or feed_key, '1')
require_permission('SET', new_copies[1] and new_copies[1][1] or feed_key, 'text', 'PX', '1')
require_append_permissions(feed_key, metadata_key)
if #events == 0 then events = repair_events(feed_key, metadata_key) end
for _, event in ipairs(events) do append_event(feed_key, metadata_key, unpack(event)) end
write_metadata(metadata_key)
for _, id in ipairs(expired) do
  -- If the index key does not hold a set, the command fails, and there is nothing to remove.
  redis.pcall('SREM', index_key, id)
  redis.call('ZREM', due_key, id)
end
if #expired_copies > 0 then redis.call('DEL', unpack(expired_copies)) end
for _, copy in ipairs(new_copies) do redis.call('SET', copy[1], copy[2], 'PX', copy[3]) end
for _, copy_key in ipairs(extended_copies) do redis.call('PEXPIRE', copy_key, to_string(copy_ttl)) end
local handled, checked_at = #expired, tonumber(ARGV[6])
local scheduled = {}
for i, check in ipairs(next_checks) do
  scheduled[2 * i - 1], scheduled[2 * i] = to_string(check[1]), check[2]
  if check[1] > checked_at then handled = handled + 1 end
end
if #scheduled > 0 then schedule_checks(due_key, unpack(scheduled)) end
redis.pcall('HSET', metadata_key, 'swept', to_string(now_ms), 'grace', to_string(grace_ends_at),
  'scanned', to_string(scan_due and now_ms or scanned_at), 'ttl', to_string(longest),
  'confirmed', to_string(longest_confirmed_at),
  'brief', to_string(shortest), 'brief_confirmed', to_string(shortest_confirmed_at))
-- If the store has lost its data, a program that connects could otherwise use another number of shards.
if ARGV[7] ~= '' and not fields[8] and not fields[9] then
  redis.pcall('HSET', metadata_key, 'shards', ARGV[7], 'function', ARGV[8])
end
return { handled, scan_due and 1 or 0, missing, to_string(shortest) }
