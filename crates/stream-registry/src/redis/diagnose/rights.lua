#!lua flags=no-writes
-- Checks which commands the user may run. The script runs none of them.
--
-- KEYS     none; the commands name a key with the prefix of the registry
-- ARGV     for each command: its words, separated by line feeds
-- Output   for each command: 1 if the user may run it, 0 if not, -1 if the server does not have the command
-- Events   this script adds no events to the feed
local result = {}
for i, command in ipairs(ARGV) do
  local words = {}
  for word in command:gmatch('[^\n]+') do words[#words + 1] = word end
  local known, allowed = pcall(redis.acl_check_cmd, unpack(words))
  result[i] = known and (allowed and 1 or 0) or -1
end
return result
