#!lua flags=no-writes
-- Returns an atomic snapshot: all ids of the index with their records.
--
-- KEYS[1]  the index set
-- KEYS[2]  the feed metadata
-- ARGV[1]  the prefix of the records' keys, which this script builds itself and does not declare in KEYS
-- Output   the generation and the tail of the feed: each is nil if it is missing, and 0 if the user lacks the permission
--          to read it; then, for each id, the id and its record or nil
-- Events   none
local index_key, prefix = KEYS[1], ARGV[1]
local metadata = redis.pcall('HMGET', KEYS[2], 'history', 'tail')
local ids = redis.call('SMEMBERS', index_key)
local result, count = { metadata[1] or false, metadata[2] or false }, 2
-- Metadata of another type is ignored.
if metadata.err and not metadata.err:find('WRONGTYPE', 1, true) then result = { 0, 0 } end
for first = 1, #ids, 1000 do
  local keys = {}
  for i = first, math.min(first + 999, #ids) do keys[#keys + 1] = prefix .. ids[i] end
  for i, json in ipairs(redis.call('MGET', unpack(keys))) do
    result[count + 1], result[count + 2] = ids[first + i - 1], json
    count = count + 2
  end
end
return result
