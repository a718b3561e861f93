-- Take what a request claims of one scope, or say what stands in the way.
--
-- ARGV: request, lifetime in microseconds, requests per minute, tokens per minute, concurrent
-- requests (each -1: no limit), tokens, nano-dollars, then period and limit of each budget.
-- Answers {1, ...} as `standing` does; {0, resource, budget, level or spent}; {-1} if it is held.

local id, lifetime = ARGV[1], tonumber(ARGV[2])
local rpm, tpm, most = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local tokens, reserve = ARGV[6], ARGV[7]

expire()
if redis.call('HEXISTS', claims, id) == 1 then
  return { -1 }
end

local requests_level, tokens_level = 0, 0
if rpm >= 0 then
  requests_level = level('requests', rpm)
  if requests_level + 1 > rpm then
    return { 0, 'requests', 0, exact(requests_level) }
  end
end
if tpm >= 0 then
  tokens_level = level('tokens', tpm)
  if tokens_level + tokens > tpm then
    return { 0, 'tokens', 0, exact(tokens_level) }
  end
end
if most >= 0 and redis.call('ZCARD', flight) >= most then
  return { 0, 'concurrency', 0, '0' }
end
local periods = {}
for i = 1, #KEYS - 4 do
  local period, limit = ARGV[6 + 2 * i], tonumber(ARGV[7 + 2 * i])
  local already = spent(i)
  if tonumber(already) >= limit or already + reserved(period) + reserve > limit then
    return { 0, 'budget', i - 1, already }
  end
  periods[i] = period
end

if rpm >= 0 then
  requests_level = requests_level + 1
  set_level('requests', requests_level, rpm)
end
if tpm >= 0 then
  tokens_level = tokens_level + tokens
  set_level('tokens', tokens_level, tpm)
end
if reserve ~= '0' then
  for _, period in ipairs(periods) do
    redis.call('HINCRBY', state, 'reserved:' .. period, reserve)
  end
end
redis.call('HSET', claims, id, table.concat({ tokens, reserve, unpack(periods) }, SEPARATOR))
redis.call('ZADD', flight, exact(now + lifetime), id)
local milliseconds = math.ceil(lifetime / 1000) + LATE_MS
keep(state, milliseconds)
keep(claims, milliseconds)
keep(flight, milliseconds)
return standing(requests_level, tokens_level, periods)
