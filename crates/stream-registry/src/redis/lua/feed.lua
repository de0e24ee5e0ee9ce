-- Appending to the change feed, in the same step as the change.
--
-- The feed is a stream: w what happened, i the id, p the entry before, r the record, c why, t when the record was
-- read in ms. Its hash of facts holds the history, which is its first entry, and the tail, its last one. Who reads
-- an entry whose p is not the one that was read before knows that something is missing.

-- Appends events: what, id, record, reason and time of each, one after the other. The first write of its script.
local function append(feed, facts, events)
  local known = redis.pcall('HMGET', facts, 'history', 'tail')
  -- What is of another type is nobody's: a new history begins.
  if known.err then
    redis.call('DEL', facts)
    known = {}
  end
  local history, tail = known[1], known[2] or '0-0'
  for at = 1, #events, 5 do
    local function add()
      return redis.pcall('XADD', feed, 'MAXLEN', '~', '100000', '*', 'w', events[at], 'i', events[at + 1], 'p', tail,
        'r', events[at + 2], 'c', events[at + 3], 't', events[at + 4])
    end
    local entry = add()
    if type(entry) == 'table' then
      redis.call('DEL', feed)
      history, tail = nil, '0-0'
      entry = add()
    end
    history, tail = history or entry, entry
  end
  redis.call('HSET', facts, 'history', history, 'tail', tail)
end

-- The commands of that, for `forbidden`.
local function appending(feed, facts)
  return { 'XADD', feed, '*', 'w', 'w' }, { 'HSET', facts, 'history', '0-0' }, { 'DEL', feed }
end
