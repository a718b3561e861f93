-- Undo what `admit` just took of one scope, because another scope refused the request.
--
-- ARGV: request, requests per minute, tokens per minute (-1: no limit).

local id, rpm, tpm = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

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
if rpm >= 0 then
  set_level('requests', level('requests', rpm) - 1, rpm)
end
if tpm >= 0 then
  set_level('tokens', level('tokens', tpm) - claim[1], tpm)
end
return 1
