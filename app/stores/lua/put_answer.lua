-- Keep a value with a lifetime, within what its owner and all owners together may keep.
--
-- KEYS[1] value; KEYS[2] due, a sorted set: name -> when its lifetime ends, in milliseconds; KEYS[3]
-- the same of the owner; KEYS[4] a hash: name -> bytes, a space, owner; KEYS[5] a hash: `all`, or
-- `of:` and an owner -> bytes.
-- ARGV: name; value; lifetime in milliseconds; owner; most bytes of all, and of one (0: no bound); what
-- an entry costs beside its value; what values' and owners' names begin with.
-- What goes first is what would have gone first: the oldest.

local value, due, its, sizes, sums = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local name, lifetime, owner = ARGV[1], tonumber(ARGV[3]), ARGV[4]
local most, most_of_one, extra = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local values, owners = ARGV[8], ARGV[9]

-- A full server refuses only scripts that begin by adding; so this one does nothing then.
redis.call('SET', value, ARGV[2], 'PX', lifetime)

local function forget(which)
  local kept = redis.call('HGET', sizes, which)
  if kept then
    local bytes, whose = string.match(kept, '^(%d+) (.*)$')
    redis.call('HDEL', sizes, which)
    redis.call('ZREM', due, which)
    redis.call('ZREM', owners .. whose, which)
    redis.call('HINCRBY', sums, 'all', -bytes)
    if redis.call('HINCRBY', sums, 'of:' .. whose, -bytes) <= 0 then
      redis.call('HDEL', sums, 'of:' .. whose)
    end
  else
    redis.call('ZREM', due, which)
    redis.call('ZREM', its, which)
  end
end

local function drop_first(from)
  local first = redis.call('ZRANGE', from, 0, 0)[1]
  if not first then
    return false
  end
  redis.call('DEL', values .. first)
  forget(first)
  return true
end

forget(name)
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
for _, over in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, 100)) do
  forget(over)
end

local bytes = #ARGV[2] + extra
redis.call('HSET', sizes, name, bytes .. ' ' .. owner)
redis.call('ZADD', due, now + lifetime, name)
redis.call('ZADD', its, now + lifetime, name)
local of_all = redis.call('HINCRBY', sums, 'all', bytes)
local of_one = redis.call('HINCRBY', sums, 'of:' .. owner, bytes)
while most_of_one > 0 and of_one > most_of_one and drop_first(its) do
  of_one = tonumber(redis.call('HGET', sums, 'of:' .. owner) or 0)
end
of_all = tonumber(redis.call('HGET', sums, 'all') or 0)
while of_all > most and drop_first(due) do
  of_all = tonumber(redis.call('HGET', sums, 'all') or 0)
end
for i = 2, 5 do
  if redis.call('PTTL', KEYS[i]) < lifetime then
    redis.call('PEXPIRE', KEYS[i], lifetime + 60000)
  end
end
return 1
