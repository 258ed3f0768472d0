-- Compare-and-swap of one value, and a little tidying. All keys carry the tenant's hash tag: one slot. After known.lua.
--
-- KEYS  3 index of all names, 4 values of the quota, 5 ends of the quota, 6 values of the other one, 7 ends of the other one
-- ARGV  4 name, 5 expected version ('' for absence), 6 the caller's time, 7 seconds it may be behind, 8 'write' or 'remove',
--       9 seconds to keep the value ('' for ever), 10 value, 11 limit
--
-- A stored value is "version end bytes". Answers:
--   {'written', version}  {'removed'}  {'conflict'}  {'conflict', version, bytes}  {'full'}
local versions, index, values, endings = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local name, expected, limit = ARGV[4], ARGV[5], tonumber(ARGV[11])

local function forget(values, endings, gone)
  redis.call('HDEL', values, gone)
  redis.call('ZREM', index, gone)
  redis.call('ZREM', endings, gone)
end

local function reclaim(values, endings, most)
  for _, gone in ipairs(redis.call('ZRANGEBYSCORE', endings, '-inf', now, 'LIMIT', 0, most)) do
    forget(values, endings, gone)
  end
end

local stored = redis.call('HGET', values, name)
local version, ends, bytes
if stored then
  version, ends, bytes = string.match(stored, '^(%d+) (%-?%d*) (.*)$')
end
local live = stored and (ends == '' or tonumber(ends) > now)

if (live and version or '') ~= expected then
  if live then
    return {'conflict', version, bytes}
  end
  return {'conflict'}
end

local here = tonumber(ARGV[6])
if now > here + tonumber(ARGV[7]) then
  return redis.error_reply('MPPCLOCK the clock of this machine is behind')
end

if ARGV[8] == 'remove' then
  if stored then
    forget(values, endings, name)
  end
  return {'removed'}
end

-- At `maxmemory` Redis refuses a script's first command that takes memory, but not those after one that frees some. So
-- what has ended goes first, and an update, which begins with a removal, is never refused.
if stored then
  redis.call('ZREM', endings, name)
  reclaim(values, endings, 4)
else
  reclaim(values, endings, 4)
  if redis.call('HLEN', values) >= limit then
    reclaim(values, endings, 64)
    if redis.call('HLEN', values) >= limit then
      return {'full'}
    end
  end
  local added = redis.pcall('ZADD', index, 0, name)
  if type(added) == 'table' and added.err then
    if not string.find(added.err, 'OOM', 1, true) then
      return added
    end
    -- Nothing of this quota has ended. Of the other one?
    reclaim(KEYS[6], KEYS[7], 64)
    added = redis.pcall('ZADD', index, 0, name)
    if type(added) == 'table' and added.err then
      return {'full'}
    end
  end
end

-- Lua would write a large number as 1e+15.
local next = string.format('%.0f', redis.call('INCR', versions))
ends = ''
if ARGV[9] ~= '' then
  ends = string.format('%.0f', math.max(now, here) + tonumber(ARGV[9]))
  redis.call('ZADD', endings, ends, name)
end
redis.call('HSET', values, name, next .. ' ' .. ends .. ' ' .. ARGV[10])
return {'written', next}
