#!lua flags=allow-oom
-- Removes ids from the index if their record is missing. Checks each record again, because it may exist by now.
--
-- KEYS[1]    the index set
-- KEYS[2..]  the record of each id
-- ARGV       the ids
-- Output     the number of removed ids, then the indices in ARGV of ids whose key does not hold a string
-- Events     none
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
