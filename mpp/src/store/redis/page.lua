-- One page of names and values in order of their names, of which none may have ended.
--
-- KEYS  generation, index of all names, values of the paid quota, values of the free quota
-- ARGV  generation, prefix, last name of the page before ('' for none), limit, now
--
-- Answers {last name looked at or '', name, version, bytes, name, version, bytes, …}; '' is the end.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('MPPLOST this database is not the one this process connected to')
end

local prefix, after, now = ARGV[2], ARGV[3], tonumber(ARGV[5])
local from = '[' .. prefix
if after ~= '' and after >= prefix then
  from = '(' .. after
end
local to = '+'
if prefix ~= '' then
  to = '[' .. prefix .. '\255' -- above every UTF-8 text
end

local page = {''}
for _, name in ipairs(redis.call('ZRANGEBYLEX', KEYS[2], from, to, 'LIMIT', 0, ARGV[4])) do
  page[1] = name
  local values = KEYS[4]
  if string.sub(name, 1, 5) == 'paid/' then
    values = KEYS[3]
  end
  local stored = redis.call('HGET', values, name)
  if stored then
    local version, ends, bytes = string.match(stored, '^(%d+) (%-?%d*) (.*)$')
    if ends == '' or tonumber(ends) > now then
      table.insert(page, name)
      table.insert(page, version)
      table.insert(page, bytes)
    end
  end
end
return page
