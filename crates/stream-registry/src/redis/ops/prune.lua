#!lua flags=allow-oom
-- Removes stream ids from the index if their records are missing.
-- Each record is checked again, because another writer may have stored the record recently.
--
-- KEYS[1]    key of the index, the set of active stream ids
-- KEYS[2..]  key of the record of each id in ARGV
-- ARGV       the stream ids to check
-- Output     a list: the number of removed ids, then the index in ARGV of each id whose key does not hold a string
-- Events     this script adds no events to the feed
local index_key = KEYS[1]
local missing, result = {}, {}
for i, id in ipairs(ARGV) do
  local key_type = redis.call('TYPE', KEYS[i + 1]).ok
  if key_type == 'none' then
    missing[#missing + 1] = id
  elseif key_type ~= 'string' then
    result[#result + 1] = i
  end
end
if #missing > 0 then redis.call('SREM', index_key, unpack(missing)) end
table.insert(result, 1, #missing)
return result
