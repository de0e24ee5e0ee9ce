#!lua flags=allow-oom
-- Schedules the next checks of streams that are alive and whose records the sweep need not copy yet.
-- Most streams that are due are of this kind. For them, this script does the same as sweep.lua, with fewer steps.
--
-- KEYS[1]    key of the sweep's schedule: stream ids, sorted by the time of their next check
-- KEYS[2..]  record of each stream
-- ARGV[1]    length of the key prefix in bytes
-- ARGV[2]    remaining time to live in ms; the sweep copies a record that has this time or less left
-- ARGV[3]    time to live of a stream in ms
-- ARGV[4]    time of this check in Unix ms, by the caller's clock
-- Output     the positions of the other streams, which sweep.lua has to check; the first stream has the position 1
-- Events     this script adds no events to the feed
local due_key, id_start, copy_margin = KEYS[1], tonumber(ARGV[1]) + 1, tonumber(ARGV[2])
local longest, call = tonumber(ARGV[3]), redis.call
local time = call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
-- A stream with more remaining time than this is not due again at the time in ARGV[4].
local shortest = math.max(copy_margin, copy_margin + tonumber(ARGV[4]) - now_ms)

local checks, others, count = {}, {}, 0
-- Streams that were written together have the same remaining time. Formatting their common time once is faster.
local texts = {}
for i = 2, #KEYS do
  local remaining = call('PTTL', KEYS[i])
  if remaining > shortest and remaining <= longest then
    local text = texts[remaining]
    if not text then
      text = string.format('%.0f', now_ms + remaining - copy_margin)
      texts[remaining] = text
    end
    checks[count + 1], checks[count + 2] = text, KEYS[i]:sub(id_start)
    count = count + 2
  else
    others[#others + 1] = i - 1
  end
end
if count > 0 then call('ZADD', due_key, unpack(checks)) end
return others
