-- Schedules the next check of a stream by the sweep. Replaces the schedule if its key holds another type.
local function schedule_check(due, time, id)
  local put = redis.pcall('ZADD', due, time, id)
  if type(put) == 'table' then
    redis.call('DEL', due)
    redis.call('ZADD', due, time, id)
  end
end

-- Returns the event of an expired stream, with the copy of its record if one was made in time.
local function expiry(id, copy)
  local kept = redis.pcall('GET', copy)
  local read_at, text
  if type(kept) == 'string' then read_at, text = kept:match('^(%d+)\n(.*)$') end
  return { 'w', 'expired', 'i', id, 'r', text or '', 't', read_at or '' }
end
