#!lua
-- @use rights
-- @use preflight
-- @use feed
-- Replaces a record by a text that the client made of it, if it is still the one that the client read.
--
-- KEYS[1]  the index set
-- KEYS[2]  the record
-- KEYS[3]  the feed
-- KEYS[4]  its facts
-- ARGV[1]  the id
-- ARGV[2]  the text that was read
-- ARGV[3]  the new text
-- ARGV[4]  time to live in ms
-- ARGV[5]  'renew' or 'longer'
-- ARGV[6]  what happened, for the feed; '' where that is no event
-- Output   1 done; 0 no such stream; -2 the key holds no string; the record's text if it is another one
-- Events   updated, status, patched
local index, record, feed, facts = unpack(KEYS)
local id, read, new, ttl, policy, what = unpack(ARGV)

local kind = redis.call('TYPE', record).ok
if kind == 'none' then return 0 end
if kind ~= 'string' then return -2 end
local text = redis.call('GET', record)
if text ~= read then return text end
local life = lifetime(record, ttl, policy)
local fault = bad_index(index) or forbidden({ { 'SADD', index, id }, { 'SET', record, new, 'PX', ttl } }) or
  what ~= '' and forbidden({ appending(feed, facts) })
if fault then return fault end
if what ~= '' then append(feed, facts, { { 'w', what, 'i', id, 'r', new } }) end
redis.call('SADD', index, id)
redis.call('SET', record, new, unpack(life))
return 1
