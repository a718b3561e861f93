-- Replace what a request claimed of one scope by what it used; nothing if it holds no claim.
--
-- ARGV: request, tokens, nano-dollars, tokens per minute (-1: no limit), then how many milliseconds
-- each period's account is kept. Answers whether there was a claim.

local id, tokens, cost, tpm = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])

expire()
local record = redis.call('HGET', claims, id)
if not record then
  return 0
end
local claim = parse(record)
local running = redis.call('ZREM', flight, id) == 1
redis.call('HDEL', claims, id)
if running then
  release(claim)
else
  redis.call('ZREM', late, id)
end
if tpm >= 0 then
  set_level('tokens', level('tokens', tpm) + tokens - claim[1], tpm)
end
if cost ~= '0' then
  for i = 1, #KEYS - 4 do
    redis.call('INCRBY', KEYS[4 + i], cost)
    keep(KEYS[4 + i], tonumber(ARGV[4 + i]))
  end
end
return 1
