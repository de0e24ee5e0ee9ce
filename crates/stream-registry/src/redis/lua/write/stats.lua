-- Changes the statistics of a record. This function is a part of write.lua and uses the variables of write.lua.
--
-- The value of last_heartbeat begins at the position `from` and ends before the position `to`.
-- Every key before the position `top_level_before` is at the top level of the record.
local function stats(json, from, to, top_level_before)
  local _, bitrate_key_end = find(json, '","bitrate":', to, true)
  if not bitrate_key_end or bitrate_key_end > top_level_before and not is_top_level(json, bitrate_key_end) then
    return json
  end
  local rate_start, rate_end, stats_end = json:match(
    '^%d+,"frame_rate":()[%d.eE+-]+(),"bytes_received":%d+,"packets_received":%d+,"packets_lost":%d+()[,}]',
    bitrate_key_end + 1)
  if not rate_start then return json end
  -- A search for the ends of the field names is enough to detect duplicate fields.
  if stats_end < #json and (find(json, 'rate"', stats_end, true) or find(json, '_received"', stats_end, true) or
      find(json, '_lost"', stats_end, true)) then
    return json
  end
  return nil, from,
    now .. sub(json, to, bitrate_key_end) .. ARGV[values_at] .. ',"frame_rate":' ..
      sub(json, rate_start, rate_end - 1) .. ',' .. ARGV[values_at + 1], stats_end
end
