-- Changes the statistics of a record. Part of write.lua, whose variables it uses.
--
-- The value of last_heartbeat begins at `from` and ends before `to`. No object begins before `flat`.
local function stats(text, from, to, flat)
  local _, last = find(text, '","bitrate":', to, true)
  if not last or last > flat and not flat_until(text, last) then return text end
  local rate, rate_end, tail = text:match(
    '^%d+,"frame_rate":()[%d.eE+-]+(),"bytes_received":%d+,"packets_received":%d+,"packets_lost":%d+()[,}]', last + 1)
  if not rate then return text end
  -- The ends of the names are enough to detect duplicates.
  if tail < #text and (find(text, 'rate"', tail, true) or find(text, '_received"', tail, true) or
      find(text, '_lost"', tail, true)) then
    return text
  end
  return nil, from,
    now .. sub(text, to, last) .. ARGV[values] .. ',"frame_rate":' .. sub(text, rate, rate_end - 1) .. ',' ..
      ARGV[values + 1], tail
end
