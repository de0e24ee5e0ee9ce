-- If a command in a script fails, Redis does not undo the earlier writes of the script.
-- So a script first checks that the user has the permissions for all of its writes.

-- Returns an error reply if the user lacks the permission for one of the commands. Otherwise, returns nil.
local function permission_error(commands)
  for _, command in ipairs(commands) do
    if not redis.acl_check_cmd(unpack(command)) then
      return redis.error_reply('NOPERM the user lacks permission to run ' .. command[1] .. ' on the key ' .. command[2])
    end
  end
end
