#!lua
-- @use permissions
-- @use preflight
-- @use feed
-- Replaces a record by the client's changed version, if the stored record is still the one that the client read.
--
-- KEYS[1]  the index set
-- KEYS[2]  the record
-- KEYS[3]  the feed
-- KEYS[4]  the feed metadata
-- ARGV[1]  the id
-- ARGV[2]  the record that the client read
-- ARGV[3]  the new record
-- ARGV[4]  time to live in ms
-- ARGV[5]  'renew'; 'longer' to never shorten the remaining time
-- ARGV[6]  kind of the event, '' if none
-- Output   1 if done; 0 if the stream is missing; -2 if the key does not hold a string; the stored record if it differs
--          from ARGV[2]
-- Events   updated, status, patched
local index_key, record_key, feed_key, metadata_key = unpack(KEYS)
local id, examined, new_json, ttl, policy, event_kind = unpack(ARGV)

local key_type = redis.call('TYPE', record_key).ok
if key_type == 'none' then return 0 end
if key_type ~= 'string' then return -2 end
local json = redis.call('GET', record_key)
if json ~= examined then return json end
local ttl_arguments = ttl_arguments_for(record_key, ttl, policy)
local error_reply = index_type_error(index_key) or
  permission_error({ { 'SADD', index_key, id }, { 'SET', record_key, new_json, 'PX', ttl } }) or
  event_kind ~= '' and permission_error({ append_commands(feed_key, metadata_key) })
if error_reply then return error_reply end
if event_kind ~= '' then append_events(feed_key, metadata_key, { { 'w', event_kind, 'i', id, 'r', new_json } }) end
redis.call('SADD', index_key, id)
redis.call('SET', record_key, new_json, unpack(ttl_arguments))
return 1
