-- Appends to the change feed, in the same script as the change.
--
-- The feed is a Redis stream. The fields of an entry:
--   p     id of the previous entry; a reader whose last entry has another id has missed entries
--   w     kind of event
--   i     stream id
--   r     record
--   c     reason of an unregistration
--   t     time in ms when the record of an expired stream was read
--   s, n  present if r is the record before its status changed: s is the new status, as the content of a JSON string,
--         and n is the time of the change
-- The feed metadata is a hash with the fields history, the id of the first entry, and tail, the id of the last one.

-- Appends events, each a list of fields without p. This must be the first write of a script.
local function append_events(feed_key, metadata_key, events)
  local fields = redis.pcall('HMGET', metadata_key, 'history', 'tail')
  -- If the key holds another type, a new generation of the feed begins.
  if fields.err then
    redis.call('DEL', metadata_key)
    fields = {}
  end
  local generation, tail = fields[1], fields[2] or '0-0'
  for i, event in ipairs(events) do
    local entry
    if i == 1 then
      entry = redis.pcall('XADD', feed_key, 'MAXLEN', '~', '100000', '*', 'p', tail, unpack(event))
    else
      entry = redis.call('XADD', feed_key, '*', 'p', tail, unpack(event))
    end
    if type(entry) == 'table' then
      redis.call('DEL', feed_key)
      generation, tail = nil, '0-0'
      entry = redis.call('XADD', feed_key, '*', 'p', tail, unpack(event))
    end
    generation, tail = generation or entry, entry
  end
  redis.call('HSET', metadata_key, 'history', generation, 'tail', tail)
end

-- Returns the commands of append_events, for permission_error.
local function append_commands(feed_key, metadata_key)
  return { 'XADD', feed_key, '*', 'w', 'w' }, { 'HSET', metadata_key, 'history', '0-0' }, { 'DEL', feed_key }
end
