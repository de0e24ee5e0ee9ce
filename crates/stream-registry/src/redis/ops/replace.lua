#!lua
-- @use rights
-- @use preflight
-- Replaces a record by a text that the client made of it, if it is still the one that the client read.
--
-- KEYS[1]  the index set
-- KEYS[2]  the record
-- ARGV[1]  the id
-- ARGV[2]  the text that was read
-- ARGV[3]  the new text
-- ARGV[4]  time to live in ms
-- ARGV[5]  'renew' or 'longer'
-- Output   1 done; 0 no such stream; -2 the key holds no string; the record's text if it is another one
-- Events   none
local index, record = KEYS[1], KEYS[2]
local id, read, new, ttl, policy = unpack(ARGV)

local kind = redis.call('TYPE', record).ok
if kind == 'none' then return 0 end
if kind ~= 'string' then return -2 end
local text = redis.call('GET', record)
if text ~= read then return text end
local life = lifetime(record, ttl, policy)
local fault = bad_index(index) or forbidden({ { 'SADD', index, id }, { 'SET', record, new, 'PX', ttl } })
if fault then return fault end
redis.call('SADD', index, id)
redis.call('SET', record, new, unpack(life))
return 1
