-- Before every script: is this the database that this process knows, and what time is it?
--
-- KEYS  1 generation, 2 version counter
-- ARGV  1 generation, 2 highest version this process has seen, 3 the time ('' for Redis's own)
if redis.call('GET', KEYS[1]) == ARGV[1] and tonumber(redis.call('GET', KEYS[2]) or '0') < tonumber(ARGV[2]) then
  -- Writes are missing. Not every process has seen them: without its generation all of them learn it.
  redis.call('DEL', KEYS[1])
end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('MPPLOST this database is not the one this process connected to')
end
local now = tonumber(ARGV[3] ~= '' and ARGV[3] or redis.call('TIME')[1])

