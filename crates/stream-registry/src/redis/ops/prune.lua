#!lua flags=allow-oom
-- Removes ids whose record is missing from the index. Checks each record again.
--
-- KEYS[1]    the index set
-- KEYS[2..]  a record for each id
-- ARGV       the ids
-- Output     how many ids were removed, then the numbers of the ids whose key does not hold a string
-- Events     none
local index = KEYS[1]
local gone, out = {}, {}
for i, id in ipairs(ARGV) do
  local kind = redis.call('TYPE', KEYS[i + 1]).ok
  if kind == 'none' then
    gone[#gone + 1] = id
  elseif kind ~= 'string' then
    out[#out + 1] = i
  end
end
if #gone > 0 then redis.call('SREM', index, unpack(gone)) end
table.insert(out, 1, #gone)
return out
