-- What else state changes ask before they write.

-- Returns an error reply if the index key holds something else than a set.
local function bad_index(key)
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'set' and kind ~= 'none' then
    return redis.error_reply('WRONGTYPE the index key holds a ' .. kind)
  end
end

-- Returns the words that give a record its time to live, for SET; with 'longer', never to less time than it
-- has left.
local function lifetime(key, ttl, policy)
  if policy == 'longer' then
    local left = redis.call('PTTL', key)
    if left == -1 or left > tonumber(ttl) then return { 'KEEPTTL' } end
  end
  return { 'PX', ttl }
end
