-- Compare-and-swap of one value, and a little tidying. All keys carry the tenant's hash tag: one slot.
--
-- KEYS  generation, version counter, index of all names, values of the quota, ends of the quota
-- ARGV  generation, name, expected version ('' for absence), now, 'write' or 'remove', end ('' for never), value, limit
--
-- A stored value is "version end bytes". Answers:
--   {'written', version}  {'removed'}  {'conflict'}  {'conflict', version, bytes}  {'full'}
local generation, versions, index, values, endings = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local name, expected, now, limit = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[8])

if redis.call('GET', generation) ~= ARGV[1] then
  return redis.error_reply('MPPLOST this database is not the one this process connected to')
end

local function forget(gone)
  redis.call('HDEL', values, gone)
  redis.call('ZREM', index, gone)
  redis.call('ZREM', endings, gone)
end

local function reclaim(most)
  for _, gone in ipairs(redis.call('ZRANGEBYSCORE', endings, '-inf', now, 'LIMIT', 0, most)) do
    forget(gone)
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

if ARGV[5] == 'remove' then
  if stored then
    forget(name)
  end
  return {'removed'}
end

if not stored then
  if redis.call('HLEN', values) >= limit then
    reclaim(64)
    if redis.call('HLEN', values) >= limit then
      return {'full'}
    end
  end
  redis.call('ZADD', index, 0, name)
end
-- Lua would write a large number as 1e+15.
local next = string.format('%.0f', redis.call('INCR', versions))
redis.call('HSET', values, name, next .. ' ' .. ARGV[6] .. ' ' .. ARGV[7])
if ARGV[6] == '' then
  redis.call('ZREM', endings, name)
else
  redis.call('ZADD', endings, ARGV[6], name)
end
reclaim(4)
return {'written', next}
