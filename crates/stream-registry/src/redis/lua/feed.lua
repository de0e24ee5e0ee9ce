-- Appending to the change feed, in the same step as the change.
--
-- The feed is a stream: p the entry before, w what happened, i the id, r the record, c why, t when the record was read
-- in ms; s and n where r is the record before its status changed: the new one, as the inside of a JSON string, and the
-- time. Its hash of facts holds the history, which is its first entry, and the tail, its last one. Who reads an entry
-- whose p is not the one that was read before knows that something is missing.

-- Appends events, each a list of its fields but for p. The first write of its script.
local function append(feed, facts, events)
  local known = redis.pcall('HMGET', facts, 'history', 'tail')
  -- What is of another type is nobody's: a new history begins.
  if known.err then
    redis.call('DEL', facts)
    known = {}
  end
  local history, tail = known[1], known[2] or '0-0'
  for at, event in ipairs(events) do
    local entry
    if at == 1 then
      entry = redis.pcall('XADD', feed, 'MAXLEN', '~', '100000', '*', 'p', tail, unpack(event))
    else
      entry = redis.call('XADD', feed, '*', 'p', tail, unpack(event))
    end
    if type(entry) == 'table' then
      redis.call('DEL', feed)
      history, tail = nil, '0-0'
      entry = redis.call('XADD', feed, '*', 'p', tail, unpack(event))
    end
    history, tail = history or entry, entry
  end
  redis.call('HSET', facts, 'history', history, 'tail', tail)
end

-- The commands of that, for `forbidden`.
local function appending(feed, facts)
  return { 'XADD', feed, '*', 'w', 'w' }, { 'HSET', facts, 'history', '0-0' }, { 'DEL', feed }
end
