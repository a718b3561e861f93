-- Put a record where nobody else holds its lease.
--
-- KEYS: the record, the records of its owner, the open ones, the lease that it takes to write.
-- ARGV: who has to hold the lease (empty: nobody), its lifetime in milliseconds, its id, when it was
-- made, whether it is open (1 or 0), its owner, its value.
-- Answers 1, or 0 where somebody else holds the lease and nothing was changed.

if ARGV[1] ~= '' and redis.call('GET', KEYS[4]) ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'owner', ARGV[6], 'created', ARGV[4], 'open', ARGV[5], 'value', ARGV[7])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[3])
if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
if ARGV[5] == '1' then
  redis.call('ZADD', KEYS[3], ARGV[4], ARGV[3])
else
  redis.call('ZREM', KEYS[3], ARGV[3])
end
return 1
