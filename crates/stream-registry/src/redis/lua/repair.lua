-- Returns the events that repair the feed: none if the feed ends with the entry that the metadata names.
-- Otherwise, another program has added entries or changed the metadata, and the only event is a marker.
-- A marker names no stream. When a script appends the marker, the metadata names the end of the feed again.
-- If the metadata is missing or not readable, the marker begins a new generation, and readers skip the older entries.
local function repair_events(feed_key, metadata_key)
  local _, tail = read_metadata(metadata_key)
  local beyond = redis.pcall('XREAD', 'COUNT', '1', 'STREAMS', feed_key, tail)
  -- If the user lacks the permission for XREAD, or the feed has another type, there is nothing to repair.
  if type(beyond) ~= 'table' or beyond.err then return {} end
  return { { 'w', 'repaired' } }
end
