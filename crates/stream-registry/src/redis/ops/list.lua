#!lua flags=no-writes
-- All ids of the index with their records, at one moment.
--
-- KEYS[1]  the index set
-- KEYS[2]  the facts of the feed
-- ARGV[1]  the prefix; the records' keys are not declared, which this script alone may do
-- Output   the feed's history and tail, nothing in their places where there is none, 0 where the user may not read
--          them; then id, text or nil, id, text or nil …
-- Events   none
local index, prefix = KEYS[1], ARGV[1]
local facts = redis.pcall('HMGET', KEYS[2], 'history', 'tail')
local ids = redis.call('SMEMBERS', index)
local out, n = { facts[1] or false, facts[2] or false }, 2
-- What is of another type is nobody's.
if facts.err and not facts.err:find('WRONGTYPE', 1, true) then out = { 0, 0 } end
for first = 1, #ids, 1000 do
  local keys = {}
  for i = first, math.min(first + 999, #ids) do keys[#keys + 1] = prefix .. ids[i] end
  for i, text in ipairs(redis.call('MGET', unpack(keys))) do
    out[n + 1], out[n + 2] = ids[first + i - 1], text
    n = n + 2
  end
end
return out
