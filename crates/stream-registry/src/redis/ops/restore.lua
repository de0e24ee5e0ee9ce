#!lua flags=allow-oom
-- Adds stream ids to the index if their records exist.
-- Each record is checked again, because another client may have removed the record recently.
--
-- KEYS[1]    key of the index, the set of active stream ids
-- KEYS[2..]  key of the record of each id in ARGV
-- ARGV       the stream ids to add
-- Output     the number of added ids
-- Events     this script adds no events to the feed
local index_key = KEYS[1]
local present = {}
for i, id in ipairs(ARGV) do
  if redis.call('TYPE', KEYS[i + 1]).ok == 'string' then present[#present + 1] = id end
end
if #present == 0 then return 0 end
return redis.call('SADD', index_key, unpack(present))
