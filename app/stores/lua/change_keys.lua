-- Put records of keys in the place of others, all of them or none.
--
-- KEYS: the hash of all records, the list of what was done to them. ARGV: what is to be told of the
-- change (empty: nothing), how much of that is kept; for each change its digest, the record that has
-- to be there (empty: none), the record to put there.
-- Answers 1, or 0 where any record is another one and nothing was changed.

for i = 3, #ARGV, 3 do
  if (redis.call('HGET', KEYS[1], ARGV[i]) or '') ~= ARGV[i + 1] then
    return 0
  end
end
for i = 3, #ARGV, 3 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
end
if ARGV[1] ~= '' then
  redis.call('LPUSH', KEYS[2], ARGV[1])
  redis.call('LTRIM', KEYS[2], 0, ARGV[2] - 1)
end
return 1
