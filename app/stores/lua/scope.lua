-- What every script of one scope begins with. All keys share one hash tag, so that a scope lives on
-- one node of a cluster.
--
-- KEYS[1] state   hash: level and time of `requests` and `tokens`, `reserved:<period>`
-- KEYS[2] flight  sorted set: request -> when its lifetime ends, in microseconds
-- KEYS[3] claims  hash: request -> tokens, nano-dollars, periods
-- KEYS[4] late    sorted set: expired request -> when its claim is forgotten
-- KEYS[5...]      strings: what was spent in each period
--
-- Numbers are doubles here: whole up to 2^53, nine million dollars in billionths. Sums are kept by
-- INCRBY and HINCRBY in 64 bits; only comparisons are made in Lua.

local state, flight, claims, late = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local SEPARATOR = '\31'
local WINDOW_US = 60000000
local MOST_EXPIRED = 1000

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local function keep(key, milliseconds)
  if redis.call('PTTL', key) < milliseconds then
    redis.call('PEXPIRE', key, milliseconds)
  end
end

local function exact(number)
  return string.format('%.17g', number)
end

-- Where a rate's level stands now: it sinks by `limit` in a minute.
local function level(name, limit)
  local stored = redis.call('HMGET', state, name, name .. '_at')
  local value, at = tonumber(stored[1]) or 0, tonumber(stored[2]) or now
  if now < at then
    -- A clock that was set back (another server took over) would block a full scope until it has
    -- caught up.
    redis.call('HSET', state, name .. '_at', exact(now))
  end
  return math.max(0, value - limit * math.max(0, now - at) / WINDOW_US)
end

local function set_level(name, value, limit)
  redis.call('HSET', state, name, exact(math.max(0, value)), name .. '_at', exact(now))
  -- What was settled above the limit takes longer than a minute to sink.
  keep(state, math.ceil(math.max(1, value / limit) * 60000) + LATE_MS)
end

local function parse(record)
  local parts = {}
  for part in string.gmatch(record, '[^' .. SEPARATOR .. ']+') do
    parts[#parts + 1] = part
  end
  return parts
end

-- Give back what a claim reserved. The caller has removed something before: a full server refuses
-- only scripts that begin by adding, so that none of them stops half way.
local function release(claim)
  if claim[2] == '0' then
    return
  end
  for i = 3, #claim do
    local field = 'reserved:' .. claim[i]
    if redis.call('HINCRBY', state, field, '-' .. claim[2]) <= 0 then
      redis.call('HDEL', state, field)
    end
  end
end

local function expire()
  local expired = redis.call('ZRANGEBYSCORE', flight, '-inf', exact(now), 'LIMIT', 0, MOST_EXPIRED)
  for _, id in ipairs(expired) do
    redis.call('ZREM', flight, id)
    local record = redis.call('HGET', claims, id)
    if record then
      release(parse(record))
      redis.call('ZADD', late, exact(now + LATE_MS * 1000), id)
      keep(late, LATE_MS)
      keep(claims, LATE_MS)
    end
  end
  local over = redis.call('ZRANGEBYSCORE', late, '-inf', exact(now), 'LIMIT', 0, MOST_EXPIRED)
  for _, id in ipairs(over) do
    redis.call('ZREM', late, id)
    redis.call('HDEL', claims, id)
  end
end

local function spent(i)
  return redis.call('GET', KEYS[4 + i]) or '0'
end

local function reserved(period)
  return redis.call('HGET', state, 'reserved:' .. period) or '0'
end

-- Both levels, requests in flight, then what is spent and reserved of each budget.
local function standing(requests, tokens, periods)
  local answer = { 1, exact(requests), exact(tokens), redis.call('ZCARD', flight) }
  for i, period in ipairs(periods) do
    answer[#answer + 1] = spent(i)
    answer[#answer + 1] = reserved(period)
  end
  return answer
end
