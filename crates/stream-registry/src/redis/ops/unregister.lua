#!lua flags=allow-oom
-- @use record
-- @use permissions
-- @use preflight
-- @use feed
-- @use tombstones
-- Removes a record and its index entry, and leaves a tombstone.
--
-- KEYS[1]  the index set
-- KEYS[2]  the record
-- KEYS[3]  the tombstone
-- KEYS[4]  the stored answer to this operation, in case it is sent again
-- KEYS[5]  the feed
-- KEYS[6]  the feed metadata
-- KEYS[7]  the schedule of the sweep
-- KEYS[8]  the copy of the record
-- ARGV[1]  the id
-- ARGV[2]  the operation id
-- ARGV[3]  minimum time to live of the tombstone in ms
-- ARGV[4]  condition: 'free', the stream is not leased; '=' and an epoch, it is leased with that epoch; 'seen', the
--          record is the one in ARGV[5]; 'any', there is no condition
-- ARGV[5]  the record that the client has examined, '' if none
-- ARGV[6]  how long to keep the answer in ms, '' if the operation id is never used again
-- ARGV[7]  the epoch for the tombstone if the client has examined the record; otherwise the stamp that takes its place
--          if the record has none
-- ARGV[8]  the reason, for the feed
-- Output   {'done', the last record}; {'again', the last record} if this operation was done before; {'used'} if the
--          operation id belongs to another operation; {'gone'}; {'there', the record} if the client has to examine it;
--          {'kind', type} if the key does not hold a string
-- Events   unregistered
-- The stored answer is 'ended', a line feed, the id, a line feed and the last record.
local index, record, tombstone, answer, feed, metadata, due, copy = unpack(KEYS)
local id, operation, tombstone_ttl, condition, seen, answer_ttl, stamp, reason = unpack(ARGV)

if answer_ttl ~= '' then
  local first = redis.call('GET', answer)
  if first then
    local answered_id, last = first:match('^ended\n([^\n]*)\n(.*)$')
    if answered_id == id then return { 'again', last } end
    return { 'used' }
  end
end
local existing = redis.call('GET', tombstone)
if existing then
  local by, last = existing:match('^([^\n]*)\n[^\n]*\n(.*)$')
  if by == operation then return { 'again', last } end
end
local kind = redis.call('TYPE', record).ok
if kind == 'none' then return { 'gone' } end
if kind ~= 'string' then return { 'kind', kind } end
local text = redis.call('GET', record)
local epoch = epoch_of(text)
-- A removal is final, so the client examines anything that is not certainly a record.
local wanted
if condition == 'seen' then
  wanted = text == seen
elseif condition == 'any' then
  wanted = epoch ~= nil
else
  wanted = (condition == 'free' and epoch == false or epoch and condition == '=' .. epoch) and heartbeat(text) and
    pcall(cjson.decode, text)
end
if not wanted then return { 'there', text } end
local value = surpassing(operation .. '\n' .. (condition ~= 'seen' and epoch or stamp) .. '\n' .. text, existing)
local first = 'ended\n' .. id .. '\n' .. text
tombstone_ttl = outliving(tombstone_ttl, record, tombstone)
local fault = bad_index(index) or forbidden({
  { 'SET', answer, first, 'PX', '1' },
  { 'SET', tombstone, value, 'PX', tombstone_ttl },
  { 'SREM', index, id },
  { 'DEL', record },
  { 'DEL', copy },
  { 'ZREM', due, id },
  appending(feed, metadata),
})
if fault then return fault end
append(feed, metadata, { { 'w', 'unregistered', 'i', id, 'r', text, 'c', reason } })
redis.call('SET', tombstone, value, 'PX', tombstone_ttl)
if answer_ttl ~= '' then redis.call('SET', answer, first, 'PX', answer_ttl) end
redis.call('SREM', index, id)
redis.call('DEL', record, copy)
-- If the key holds another type, the sweep replaces it later.
redis.pcall('ZREM', due, id)
return { 'done', text }
