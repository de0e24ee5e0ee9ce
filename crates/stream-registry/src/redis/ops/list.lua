#!lua flags=no-writes
-- Returns an atomic snapshot of the registry: all stream ids in the index, with their records.
--
-- KEYS[1]  key of the index, the set of active stream ids
-- KEYS[2]  key of the feed metadata, a hash
-- ARGV[1]  prefix of the record keys; the script builds these keys itself, so KEYS does not contain them
-- Output   a list that begins with the fields history and tail of the feed metadata
--          A missing field is nil. Both fields are 0 if the user lacks the permission to read them.
--          Then, for each stream, the list contains the id and the record, or nil if the record is missing.
-- Events   this script adds no events to the feed
local index_key, prefix = KEYS[1], ARGV[1]
local metadata = redis.pcall('HMGET', KEYS[2], 'history', 'tail')
local ids = redis.call('SMEMBERS', index_key)
local result, count = { metadata[1] or false, metadata[2] or false }, 2
-- If the metadata key holds a value of another type, the metadata counts as missing.
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
