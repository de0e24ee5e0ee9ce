#!lua flags=allow-oom
-- @use leading
-- @use rights
-- @use preflight
-- @use feed
-- @use marks
-- Removes a record with its index entry and leaves a mark that says so.
--
-- KEYS[1]  the index set
-- KEYS[2]  the record
-- KEYS[3]  the end mark
-- KEYS[4]  the answer to this operation, for when it is sent again
-- KEYS[5]  the feed
-- KEYS[6]  its facts
-- KEYS[7]  the order of deadlines
-- KEYS[8]  the copy of the record
-- ARGV[1]  the id
-- ARGV[2]  the operation id
-- ARGV[3]  the mark's time to live in ms, at least
-- ARGV[4]  'free' to end a stream that is not leased; '=' and the epoch of the lease to end; 'seen' to end the
--          text that the client has judged; 'any'
-- ARGV[5]  that text, '' otherwise
-- ARGV[6]  for how long the operation's answer is remembered in ms, '' where its id cannot come again
-- ARGV[7]  the epoch for the mark where the client has judged; else what stands for it where there is none
-- ARGV[8]  the reason, for the feed
-- Output   {'done', the last text}; {'again', the last text} where this operation has done it before;
--          {'used'} where this operation has done something else; {'gone'}; {'there', text} where the
--          client has to judge; {'kind', type} if the key holds no string
-- Events   unregistered
-- The answer: 'ended', a line feed, the id, a line feed, the last text.
-- The mark: the operation id, a line feed, the epoch or what stands for it, a line feed, the last text.
local index, record, mark, answer, feed, facts, due, copy = unpack(KEYS)
local id, operation, mark_ttl, condition, seen, answer_ttl, stamp, reason = unpack(ARGV)

if answer_ttl ~= '' then
  local first = redis.call('GET', answer)
  if first then
    local of, last = first:match('^ended\n([^\n]*)\n(.*)$')
    if of == id then return { 'again', last } end
    return { 'used' }
  end
end
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
-- An end is final: what is no record is for the client to judge, however much it looks like one.
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
local value = surpassing(operation .. '\n' .. (condition ~= 'seen' and epoch or stamp) .. '\n' .. text, marked)
local first = 'ended\n' .. id .. '\n' .. text
mark_ttl = outliving(mark_ttl, record, mark)
local fault = bad_index(index) or forbidden({
  { 'SET', answer, first, 'PX', '1' },
  { 'SET', mark, value, 'PX', mark_ttl },
  { 'SREM', index, id },
  { 'DEL', record },
  { 'DEL', copy },
  { 'ZREM', due, id },
  appending(feed, facts),
})
if fault then return fault end
append(feed, facts, { { 'w', 'unregistered', 'i', id, 'r', text, 'c', reason } })
redis.call('SET', mark, value, 'PX', mark_ttl)
if answer_ttl ~= '' then redis.call('SET', answer, first, 'PX', answer_ttl) end
redis.call('SREM', index, id)
redis.call('DEL', record, copy)
-- Of another type it is nobody's, and the sweep will see to it.
redis.pcall('ZREM', due, id)
return { 'done', text }
