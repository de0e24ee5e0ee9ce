#!lua flags=allow-oom
-- Stores how the registry is divided into shards, unless this is stored already.
--
-- KEYS[1]  key of the feed metadata of one shard, a hash
-- ARGV[1]  number of shards
-- ARGV[2]  name of the function that assigns stream ids to shards
-- Output   the stored fields shards and function, a list
--          An empty list if the metadata key holds a value of another type, which the next event replaces.
-- Events   this script adds no events to the feed
local metadata_key, shards, name = KEYS[1], ARGV[1], ARGV[2]
local stored = redis.pcall('HMGET', metadata_key, 'shards', 'function')
if stored.err then return stored.err:find('WRONGTYPE', 1, true) and {} or stored end
if stored[1] or stored[2] then return stored end
redis.call('HSET', metadata_key, 'shards', shards, 'function', name)
return { shards, name }
