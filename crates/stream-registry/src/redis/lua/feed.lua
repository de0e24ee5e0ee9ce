-- These functions append events to the change feed, in the same script as the change itself.
--
-- The feed is a Redis stream. Each entry of the feed has some of these fields:
--   p  id of the previous entry, so that a reader notices missing entries
--   w  kind of the event
--   i  id of the media stream
--   r  record of the media stream
--   c  reason of an unregistration
--   t  time in Unix ms at which the sweep read the record of an expired stream
--   s  new status of the media stream, as the content of a JSON string; r is then the record before the status change
--   n  time of a status change; present if s is present
-- The feed metadata is a hash with two fields for the feed.
-- The field history is the id of the first entry, and the field tail is the id of the last entry.

-- Returns the ids of the feed's first and last entry, as the metadata names them.
-- Returns nil and '0-0' if the metadata is missing or not readable. The third result is the error of the read, if any.
local function read_metadata(metadata_key)
  local fields = redis.pcall('HMGET', metadata_key, 'history', 'tail')
  local generation, tail = fields[1], fields[2]
  if generation and tail and generation:find('^%d+%-%d+$') and tail:find('^%d+%-%d+$') then return generation, tail end
  return nil, '0-0', fields.err
end

-- Appends events to the feed. Each event is a list of fields and values, without the field p.
local function append_events(feed_key, metadata_key, events)
  -- Without readable metadata, a new generation of the feed begins.
  local generation, tail, read_error = read_metadata(metadata_key)
  if read_error then redis.call('DEL', metadata_key) end
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

-- Raises an error if the user lacks a permission that append_events needs.
local function require_append_permissions(feed_key, metadata_key)
  require_permission('XADD', feed_key, '*', 'w', 'w')
  require_permission('HSET', metadata_key, 'history', '0-0')
  require_permission('DEL', feed_key)
end
