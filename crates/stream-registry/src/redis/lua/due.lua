-- Sets the times of the sweep's next checks of some streams, in the sorted set that is the schedule.
-- The arguments after due_key are pairs of a time and a stream id.
-- If the key of the schedule holds a value of another type, that value is deleted first.
local function schedule_checks(due_key, ...)
  local reply = redis.pcall('ZADD', due_key, ...)
  if type(reply) ~= 'table' then return end
  redis.call('DEL', due_key)
  redis.call('ZADD', due_key, ...)
end

-- Returns the event for an expired stream. The event contains the copy of the record if the sweep made a copy.
local function expiry_event(id, copy_key)
  local copied = redis.pcall('GET', copy_key)
  local read_at, json
  if type(copied) == 'string' then read_at, json = copied:match('^(%d+)\n(.*)$') end
  return { 'w', 'expired', 'i', id, 'r', json or '', 't', read_at or '' }
end
