-- Before every script: is this the database that this process knows, and what time is it?
--
-- KEYS  1 generation, 2 version counter
-- ARGV  1 generation ('' of a reader, for none), 2 highest version this process has seen, 3 the time ('' for Redis's own)
--
-- Answers {'lost'} when writes are missing that this process has seen.
local same = (redis.call('GET', KEYS[1]) or '') == ARGV[1]
if same and tonumber(redis.call('GET', KEYS[2]) or '0') < tonumber(ARGV[2]) then
  -- Writes are missing. Not every process has seen them: without a generation all of them learn it.
  local told = redis.pcall('DEL', KEYS[1])
  if type(told) == 'table' and told.err and string.find(told.err, 'READONLY', 1, true) then
    return told -- a replica that lags, and nobody's loss
  end
  return {'lost'}
end
if not same then
  return redis.error_reply('MPPLOST this database is not the one this process connected to')
end
local now = tonumber(ARGV[3] ~= '' and ARGV[3] or redis.call('TIME')[1])

