-- Make room: drop the oldest values, whoever they belong to.
--
-- KEYS[1] due, KEYS[2] sizes, KEYS[3] sums, as of `put_answer`. ARGV: how many bytes; what values' and
-- owners' names begin with.
-- Answers how many values went.

local due, sizes, sums = KEYS[1], KEYS[2], KEYS[3]
local wanted, dropped, freed = tonumber(ARGV[1]), 0, 0
local values, owners = ARGV[2], ARGV[3]
while freed < wanted do
  local name = redis.call('ZRANGE', due, 0, 0)[1]
  if not name then
    break
  end
  -- A full server refuses only scripts that begin by adding.
  redis.call('DEL', values .. name)
  redis.call('ZREM', due, name)
  local kept = redis.call('HGET', sizes, name)
  if kept then
    local bytes, whose = string.match(kept, '^(%d+) (.*)$')
    redis.call('HDEL', sizes, name)
    redis.call('ZREM', owners .. whose, name)
    redis.call('HINCRBY', sums, 'all', -bytes)
    if redis.call('HINCRBY', sums, 'of:' .. whose, -bytes) <= 0 then
      redis.call('HDEL', sums, 'of:' .. whose)
    end
    freed = freed + bytes
  end
  dropped = dropped + 1
end
return dropped
