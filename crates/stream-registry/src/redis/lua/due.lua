-- Sets when the sweep looks at a stream next; a key of another type is nobody's.
local function look_at(due, moment, id)
  local put = redis.pcall('ZADD', due, moment, id)
  if type(put) == 'table' then
    redis.call('DEL', due)
    redis.call('ZADD', due, moment, id)
  end
end
