-- Sets the time of the sweep's next check of a stream, in the sorted set that is the schedule.
-- If the key of the schedule holds a value of another type, that value is deleted first.
-- Returns 1 if the schedule did not contain the stream before, else 0.
local function schedule_check(due_key, check_at, id)
  local reply = redis.pcall('ZADD', due_key, check_at, id)
  if type(reply) ~= 'table' then return reply end
  redis.call('DEL', due_key)
  return redis.call('ZADD', due_key, check_at, id)
end

-- Returns the event for an expired stream. The event contains the copy of the record if the sweep made a copy.
local function expiry_event(id, copy_key)
  local copied = redis.pcall('GET', copy_key)
  local read_at, json
  if type(copied) == 'string' then read_at, json = copied:match('^(%d+)\n(.*)$') end
  return { 'w', 'expired', 'i', id, 'r', json or '', 't', read_at or '' }
end
