-- End marks: the operation id, a line feed, the epoch of what ended or what stands for it, a line feed, the last
-- text. The epoch of a mark never goes back: a clock that does would let a holder in again who was refused before.

-- Whether one text is greater than another in byte order; Lua's own order is that of the server's locale.
local function greater(a, b)
  for i = 1, #a do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then return not y or x > y end
  end
  return false
end

-- Returns the mark to write where another one may be there already.
local function surpassing(mark, there)
  local before = there and there:match('^[^\n]*\n([^\n]*)\n')
  if not before then return mark end
  local operation, epoch, text = mark:match('^([^\n]*\n)([^\n]*)(\n.*)$')
  if greater(epoch, before) then return mark end
  -- 45 ends what stands for the epoch of a stream that had none; 126 what was put above one.
  if epoch:byte(-1) == 45 and before:byte(-1) ~= 126 then before = before .. '~' end
  return operation .. before .. text
end

-- How long a mark is to live in ms: as told, three times what the record had left, or as long as the mark that is
-- there, whichever is the longest. Who ends a stream may know another time to live than who holds it.
local function outliving(told, record, mark)
  local most = math.max(tonumber(told), redis.call('PTTL', record) * 3, redis.call('PTTL', mark))
  return string.format('%.0f', most)
end
