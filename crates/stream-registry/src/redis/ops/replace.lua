#!lua
-- @use permissions
-- @use preflight
-- @use feed
-- Replaces a record by one that the client made from it, if the stored record is still the same.
--
-- KEYS[1]  the index set
-- KEYS[2]  the record
-- KEYS[3]  the feed
-- KEYS[4]  the feed metadata
-- ARGV[1]  the id
-- ARGV[2]  the record that the client read
-- ARGV[3]  the new record
-- ARGV[4]  time to live in ms
-- ARGV[5]  'renew' or 'longer'
-- ARGV[6]  kind of the event, '' if none
-- Output   1 done; 0 no such stream; -2 the key does not hold a string; the stored record if it is another one
-- Events   updated, status, patched
local index, record, feed, metadata = unpack(KEYS)
local id, read, new, ttl, policy, event = unpack(ARGV)

local kind = redis.call('TYPE', record).ok
if kind == 'none' then return 0 end
if kind ~= 'string' then return -2 end
local text = redis.call('GET', record)
if text ~= read then return text end
local life = lifetime(record, ttl, policy)
local fault = bad_index(index) or forbidden({ { 'SADD', index, id }, { 'SET', record, new, 'PX', ttl } }) or
  event ~= '' and forbidden({ appending(feed, metadata) })
if fault then return fault end
if event ~= '' then append(feed, metadata, { { 'w', event, 'i', id, 'r', new } }) end
redis.call('SADD', index, id)
redis.call('SET', record, new, unpack(life))
return 1
