#!lua flags=no-writes
-- Returns all ids of the index with their records, at one moment.
--
-- KEYS[1]  the index set
-- KEYS[2]  the feed metadata
-- ARGV[1]  the prefix; the keys of the records are not declared, in this script only
-- Output   generation and tail of the feed, each nil if missing, 0 if the user may not read them; then id, record or
--          nil, id, record or nil …
-- Events   none
local index, prefix = KEYS[1], ARGV[1]
local metadata = redis.pcall('HMGET', KEYS[2], 'history', 'tail')
local ids = redis.call('SMEMBERS', index)
local out, n = { metadata[1] or false, metadata[2] or false }, 2
-- Metadata of another type is ignored.
if metadata.err and not metadata.err:find('WRONGTYPE', 1, true) then out = { 0, 0 } end
for first = 1, #ids, 1000 do
  local keys = {}
  for i = first, math.min(first + 999, #ids) do keys[#keys + 1] = prefix .. ids[i] end
  for i, text in ipairs(redis.call('MGET', unpack(keys))) do
    out[n + 1], out[n + 2] = ids[first + i - 1], text
    n = n + 2
  end
end
return out
