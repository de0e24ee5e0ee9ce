-- Schedules the next check of a stream by the sweep. Replaces the schedule if its key holds another type.
local function schedule_check(due_key, check_at, id)
  local reply = redis.pcall('ZADD', due_key, check_at, id)
  if type(reply) == 'table' then
    redis.call('DEL', due_key)
    redis.call('ZADD', due_key, check_at, id)
  end
end

-- Returns the event of an expired stream, with the copy of its record if one was made in time.
local function expiry_event(id, copy_key)
  local copied = redis.pcall('GET', copy_key)
  local read_at, json
  if type(copied) == 'string' then read_at, json = copied:match('^(%d+)\n(.*)$') end
  return { 'w', 'expired', 'i', id, 'r', json or '', 't', read_at or '' }
end
