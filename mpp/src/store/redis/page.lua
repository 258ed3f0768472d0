-- One page of names and values in order of their names, of which none may have ended. After known.lua.
--
-- KEYS  3 index of all names, 4 values of the paid quota, 5 values of the free quota
-- ARGV  4 prefix, 5 last name of the page before ('' for none), 6 limit
--
-- Answers {last name looked at or '', name, version, bytes, name, version, bytes, …}; '' is the end.
local prefix, after = ARGV[4], ARGV[5]
local from = '[' .. prefix
if after ~= '' and after >= prefix then
  from = '(' .. after
end
local to = '+'
if prefix ~= '' then
  to = '[' .. prefix .. '\255' -- above every UTF-8 text
end

local page = {''}
for _, name in ipairs(redis.call('ZRANGEBYLEX', KEYS[3], from, to, 'LIMIT', 0, ARGV[6])) do
  page[1] = name
  local values = KEYS[5]
  if string.sub(name, 1, 5) == 'paid/' then
    values = KEYS[4]
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
