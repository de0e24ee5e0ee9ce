-- A script is isolated but not atomic: Redis does not undo the earlier writes of a script that fails.
-- So before its first write, a script checks that the user has permission for all of its writes.

-- Raises an error if the user lacks the permission for a command.
local function require_permission(...)
  if redis.acl_check_cmd(...) then return end
  local command, key = ...
  local place = key and ' on the key ' .. key or ''
  error({ err = 'NOPERM the user lacks permission to run ' .. command .. place })
end
