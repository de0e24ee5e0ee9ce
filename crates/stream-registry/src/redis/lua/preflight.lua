-- Other checks before a script writes.

-- Returns an error reply if the index key does not hold a set.
local function bad_index(key)
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'set' and kind ~= 'none' then
    return redis.error_reply('WRONGTYPE the index key holds a ' .. kind)
  end
end

-- Returns the arguments of SET that give a record its time to live. With the policy 'longer' they never shorten the
-- remaining time.
local function lifetime(key, ttl, policy)
  if policy == 'longer' then
    local left = redis.call('PTTL', key)
    if left == -1 or left > tonumber(ttl) then return { 'KEEPTTL' } end
  end
  return { 'PX', ttl }
end
