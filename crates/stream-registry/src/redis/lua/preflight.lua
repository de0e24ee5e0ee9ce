-- These functions check keys before the first write of a script.

-- Returns an error reply if the index key holds a value other than a set. Otherwise, returns nil.
local function index_type_error(key)
  local key_type = redis.call('TYPE', key).ok
  if key_type ~= 'set' and key_type ~= 'none' then
    return redis.error_reply('WRONGTYPE the index key holds a ' .. key_type)
  end
end

-- Returns the arguments of SET that give a record its time to live.
-- With the policy 'longer', SET never shortens the remaining time to live of the record.
-- A record without a time to live gets one under each policy, because the record would stay for ever without it.
local function ttl_arguments_for(key, ttl, policy)
  if policy == 'longer' and redis.call('PTTL', key) > tonumber(ttl) then return { 'KEEPTTL' } end
  return { 'PX', ttl }
end
