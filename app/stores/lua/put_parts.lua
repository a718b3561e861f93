-- Put parts into a box.
--
-- KEYS: the box, a hash; the lease that it takes to write. ARGV: who has to hold the lease (empty:
-- nobody), the lifetime of the box in milliseconds, then number and value of every part.
-- Answers 1, or 0 where somebody else holds the lease and nothing was changed.

if ARGV[1] ~= '' and redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
for i = 3, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
