-- Changes the statistics of a record. Part of write.lua, whose variables it uses.
--
-- The value of last_heartbeat begins at `from` and ends before `to`. No object begins before `flat`. `optional` is true
-- if the write also has the optional statistics, which need a closer look at the fields in between.
local function stats(text, from, to, flat, optional)
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
  local frame_rate, rest = sub(text, rate, rate_end - 1), ''
  if optional then
    local PLAIN = '[^"\\]*'
    local NAMES = { 'rtt_ms', 'jitter_ms', 'packets_retransmitted', 'packets_dropped', 'viewers' }

    -- Returns the position after the labels, the given position if there are no labels there, or nothing if the client
    -- has to parse them. Goes label by label, because a value may contain a brace.
    local function after_labels(here)
      local inside = text:match('^,"labels":{()', here)
      if not inside then return here end
      local delimiter
      repeat
        inside, delimiter = text:match('^"' .. PLAIN .. '":"' .. PLAIN .. '"()([,}])', inside)
        if not inside then return nil end
        inside = inside + 1
      until delimiter == '}'
      return inside
    end

    if ARGV[values + 2] ~= '' then frame_rate = ARGV[values + 2] end
    local past = text:match('^,"node":"' .. PLAIN .. '"()', tail) or tail
    past = text:match('^,"epoch":"' .. PLAIN .. '"()', past) or past
    past = after_labels(past)
    if not past then return text end
    past = text:match('^,"audio_codec":"' .. PLAIN .. '"()', past) or past
    for _, name in ipairs(NAMES) do
      if find(sub(text, 1, tail), name .. '"', 1, true) then return text end
    end
    local parts = { sub(text, tail, past - 1) }
    for i, name in ipairs(NAMES) do
      local value, behind = text:match('^,"' .. name .. '":([%d.eE+-]+)()', past)
      past = behind or past
      if ARGV[values + 2 + i] ~= '' then value = ARGV[values + 2 + i] end
      if value then parts[#parts + 1] = ',"' .. name .. '":' .. value end
    end
    local first = sub(text, past, past)
    if first ~= ',' and first ~= '}' then return text end
    for _, name in ipairs(NAMES) do
      if find(text, name .. '"', past, true) then return text end
    end
    rest, tail = table.concat(parts), past
  end
  return nil, from,
    now .. sub(text, to, last) .. ARGV[values] .. ',"frame_rate":' .. frame_rate .. ',' .. ARGV[values + 1] .. rest, tail
end
