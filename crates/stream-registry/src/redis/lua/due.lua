-- Sets when the sweep looks at a stream next; a key of another type is nobody's.
local function look_at(due, moment, id)
  local put = redis.pcall('ZADD', due, moment, id)
  if type(put) == 'table' then
    redis.call('DEL', due)
    redis.call('ZADD', due, moment, id)
  end
end

-- The event of a stream that is gone, with its record as it was copied aside where that was in time.
local function expiry(id, copy)
  local kept = redis.pcall('GET', copy)
  local read, text
  if type(kept) == 'string' then read, text = kept:match('^(%d+)\n(.*)$') end
  return { 'w', 'expired', 'i', id, 'r', text or '', 't', read or '' }
end
