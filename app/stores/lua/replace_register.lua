-- Put a value in the place of another, if that is still there.
--
-- KEYS: the register, a hash. ARGV: the version that has to be there (empty: none), the new one, its
-- value, its lifetime in milliseconds.
-- Answers 1, or 0 where another version is there and nothing was changed.

if (redis.call('HGET', KEYS[1], 'version') or '') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'value', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
