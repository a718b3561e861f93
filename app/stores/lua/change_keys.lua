-- Put records of keys in the place of others, all of them or none.
--
-- KEYS[1]: the hash of all records. ARGV, for each change: digest, the record that has to be there
-- (empty: none), the record to put there.
-- Answers 1, or 0 where any record is another one and nothing was changed.

for i = 1, #ARGV, 3 do
  if (redis.call('HGET', KEYS[1], ARGV[i]) or '') ~= ARGV[i + 1] then
    return 0
  end
end
for i = 1, #ARGV, 3 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
end
return 1
