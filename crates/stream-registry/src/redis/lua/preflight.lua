-- A script is isolated, not all or nothing: an error half-way keeps the earlier writes. So state changes
-- ask first: may this user run every write, and has every key the type that the writes need?

-- Returns an error reply if the user may not run one of the commands.
local function forbidden(commands)
  for _, command in ipairs(commands) do
    if not redis.acl_check_cmd(unpack(command)) then
      return redis.error_reply('NOPERM the user may not run ' .. command[1] .. ' on the key ' .. command[2])
    end
  end
end

-- Returns an error reply if the index key holds something else than a set.
local function bad_index(key)
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'set' and kind ~= 'none' then
    return redis.error_reply('WRONGTYPE the index key holds a ' .. kind)
  end
end

-- Returns the words that give a record its time to live, for SET; with 'longer', never to less time than it
-- has left. It asks the server, so it belongs before the first write.
local function lifetime(key, ttl, policy)
  if policy == 'longer' then
    local left = redis.call('PTTL', key)
    if left == -1 or left > tonumber(ttl) then return { 'KEEPTTL' } end
  end
  return { 'PX', ttl }
end
