-- A script is isolated but not atomic: an error half-way keeps the earlier writes. So a script that changes state first
-- checks that the user may run every write.

-- Returns an error reply if the user may not run one of the commands.
local function forbidden(commands)
  for _, command in ipairs(commands) do
    if not redis.acl_check_cmd(unpack(command)) then
      return redis.error_reply('NOPERM the user may not run ' .. command[1] .. ' on the key ' .. command[2])
    end
  end
end
