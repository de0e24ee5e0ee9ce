-- Appending to the change feed, in the same script as the change.
--
-- The feed is a Redis stream. The fields of an entry:
--   p     id of the previous entry; a reader that did not just read that entry has missed some
--   w     kind of event
--   i     stream id
--   r     record
--   c     reason of an unregistration
--   t     time in ms when the record of an expired stream was read
--   s, n  if r is the record before its status changed: the new status, as the inside of a JSON string, and the time
-- The feed metadata is a hash with the fields history, the id of the first entry, and tail, the id of the last one.

-- Appends events, each a list of fields without p. This must be the first write of a script.
local function append(feed, metadata, events)
  local known = redis.pcall('HMGET', metadata, 'history', 'tail')
  -- The key holds another type, so a new generation begins.
  if known.err then
    redis.call('DEL', metadata)
    known = {}
  end
  local generation, tail = known[1], known[2] or '0-0'
  for at, event in ipairs(events) do
    local entry
    if at == 1 then
      entry = redis.pcall('XADD', feed, 'MAXLEN', '~', '100000', '*', 'p', tail, unpack(event))
    else
      entry = redis.call('XADD', feed, '*', 'p', tail, unpack(event))
    end
    if type(entry) == 'table' then
      redis.call('DEL', feed)
      generation, tail = nil, '0-0'
      entry = redis.call('XADD', feed, '*', 'p', tail, unpack(event))
    end
    generation, tail = generation or entry, entry
  end
  redis.call('HSET', metadata, 'history', generation, 'tail', tail)
end

-- Returns the commands of append, for `forbidden`.
local function appending(feed, metadata)
  return { 'XADD', feed, '*', 'w', 'w' }, { 'HSET', metadata, 'history', '0-0' }, { 'DEL', feed }
end
