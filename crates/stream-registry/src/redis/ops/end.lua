#!lua flags=allow-oom
-- @use leading
-- @use preflight
-- Removes a record with its index entry and leaves a mark that says so.
--
-- KEYS[1]  the index set
-- KEYS[2]  the record
-- KEYS[3]  the end mark
-- ARGV[1]  the id
-- ARGV[2]  the operation id
-- ARGV[3]  the mark's time to live in ms
-- ARGV[4]  'free' to end a stream that is not leased; 'seen' to end the text that the client has judged; 'any'
-- ARGV[5]  that text, '' otherwise
-- Output   {'done', the last text}; {'again', the last text} where this operation has done it before;
--          {'gone'}; {'there', text} where the client has to judge; {'kind', type} if the key holds no string
-- Events   none
-- The mark: the operation id, a line feed, the epoch or nothing, a line feed, the last text.
local index, record, mark = unpack(KEYS)
local id, operation, mark_ttl, condition, seen = unpack(ARGV)

local marked = redis.call('GET', mark)
if marked then
  local by, last = marked:match('^([^\n]*)\n[^\n]*\n(.*)$')
  if by == operation then return { 'again', last } end
end
local kind = redis.call('TYPE', record).ok
if kind == 'none' then return { 'gone' } end
if kind ~= 'string' then return { 'kind', kind } end
local text = redis.call('GET', record)
local epoch = epoch_of(text)
if condition == 'free' and epoch ~= false or condition == 'seen' and text ~= seen then
  return { 'there', text }
end
local value = operation .. '\n' .. (epoch or '') .. '\n' .. text
local fault = bad_index(index) or forbidden({
  { 'SET', mark, value, 'PX', mark_ttl },
  { 'SREM', index, id },
  { 'DEL', record },
})
if fault then return fault end
redis.call('SET', mark, value, 'PX', mark_ttl)
redis.call('SREM', index, id)
redis.call('DEL', record)
return { 'done', text }
