#!lua flags=allow-oom
-- Removes ids from the index whose record is gone; each is looked at again, here.
--
-- KEYS[1]    the index set
-- KEYS[2..]  a record for each id
-- ARGV       the ids
-- Output     how many ids were removed, then the places of those whose key holds no string
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
