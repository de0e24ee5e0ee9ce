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

-- The ids of the feed's first and last entry, after the first call of append_event.
local generation, tail
-- The id of each further entry as XADD expects it, after the second call of append_event.
local further_id

-- Returns an id for the first entry of this call: the time in milliseconds, and a number that another server would not
-- use. During a failover, two servers can add entries at the same time. If both used the same id, a reader that moves
-- from one server to the other would miss entries.
local function first_id()
  local time = redis.call('TIME')
  -- These digits of the address of a table are random for each process of a server.
  local random = tonumber(tostring(time):sub(-10, -6), 16) or 0
  local id = string.format('%s%03d-%d%06d', time[1], time[2] / 1000, random, time[2])
  -- The first 14 characters are the time and the hyphen.
  if tail == '0-0' or id:sub(1, 14) > tail:sub(1, 14) then return id end
  return tail:match('^%d+%-') .. '*'
end

-- Appends an event. The arguments after metadata_key are its fields and values, without the field p.
local function append_event(feed_key, metadata_key, ...)
  local entry
  if tail then
    -- The ids are in the same millisecond. With '*', Redis would begin again with 0 in the next millisecond.
    further_id = further_id or tail:match('^%d+%-') .. '*'
    entry = redis.call('XADD', feed_key, further_id, 'p', tail, ...)
  else
    local read_error
    generation, tail, read_error = read_metadata(metadata_key)
    if read_error then redis.call('DEL', metadata_key) end
    entry = redis.pcall('XADD', feed_key, 'MAXLEN', '~', '100000', first_id(), 'p', tail, ...)
    if type(entry) == 'table' then
      -- The feed has entries after its tail, or the key holds a value of another type.
      entry = redis.pcall('XADD', feed_key, 'MAXLEN', '~', '100000', '*', 'p', tail, ...)
    end
    if type(entry) == 'table' then
      redis.call('DEL', feed_key)
      generation = nil
      entry = redis.call('XADD', feed_key, '*', 'p', '0-0', ...)
    end
  end
  -- Without readable metadata, the first event begins a new generation of the feed.
  generation, tail = generation or entry, entry
end

-- Writes the metadata of the feed, if there were events. A script calls this function after its last event.
local function write_metadata(metadata_key)
  if tail then redis.call('HSET', metadata_key, 'history', generation, 'tail', tail) end
end

-- Raises an error if the user lacks a permission that the functions above need.
local function require_append_permissions(feed_key, metadata_key)
  require_permission('TIME')
  require_permission('XADD', feed_key, '*', 'w', 'w')
  require_permission('HSET', metadata_key, 'history', '0-0')
  require_permission('DEL', feed_key)
end
