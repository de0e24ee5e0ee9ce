#!lua
-- @use permissions
-- @use feed
-- Replaces a record with a version that the client has changed.
-- The script replaces the stored record only if it is still the same as the record that the client read.
--
-- KEYS[1]  key of the index, the set of active stream ids
-- KEYS[2]  key of the stream's record, a JSON string
-- KEYS[3]  key of the change feed, a Redis stream
-- KEYS[4]  key of the feed metadata, a hash
-- ARGV[1]  id of the stream
-- ARGV[2]  the record that the client read
-- ARGV[3]  the new record
-- ARGV[4]  time to live of the record in ms
-- ARGV[5]  TTL policy: 'renew', or 'longer' to never shorten the remaining time to live
-- ARGV[6]  kind of the event for the feed; '' to add no event
-- Output   one of these values:
--          1 if the record was replaced
--          0 if the stream is missing
--          -2 if the record key does not hold a string
--          the stored record if it differs from the record that the client read
-- Events   updated, status or patched, depending on ARGV[6]
local index_key, record_key, feed_key, metadata_key = unpack(KEYS)
local id, examined, new_json, ttl, policy, event_kind = unpack(ARGV)

local key_type = redis.call('TYPE', record_key).ok
if key_type == 'none' then return 0 end
if key_type ~= 'string' then return -2 end
local json = redis.call('GET', record_key)
if json ~= examined then return json end
require_permission('SADD', index_key, id)
require_permission('SET', record_key, new_json, 'PX', ttl)
if event_kind ~= '' then require_append_permissions(feed_key, metadata_key) end
-- A record without a time to live gets one under each policy, because the record would stay for ever without it.
local ttl_arguments = { 'PX', ttl }
if policy == 'longer' and redis.call('PTTL', record_key) > tonumber(ttl) then ttl_arguments = { 'KEEPTTL' } end
-- If the index key holds a value of another type, this first write fails and nothing has changed.
redis.call('SADD', index_key, id)
if event_kind ~= '' then append_event(feed_key, metadata_key, 'w', event_kind, 'i', id, 'r', new_json) end
write_metadata(metadata_key)
redis.call('SET', record_key, new_json, unpack(ttl_arguments))
return 1
