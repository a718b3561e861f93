-- What every script begins with. All keys share one hash tag: whatever a request claims is checked
-- and taken in one step, and what has expired is given back wherever it was claimed.
--
-- KEYS[1] due      sorted set: request -> when the first of its claims expires, in microseconds
-- KEYS[2] record   what one request claims, as segments (below); forgotten by its lifetime
-- KEYS[3...]       what is counted of each scope, as a state (below)
--
-- All is packed, and tables have places instead of names: with hashes, Lua spent most of its time on
-- turning numbers into text and back.
-- Numbers are doubles: whole up to 2^53, nine million dollars in billionths. What is spent may
-- exceed that, and is counted in two parts.

local due, record = KEYS[1], KEYS[2]
local floor, max, min = math.floor, math.max, math.min
local WINDOW_US, WINDOW_MS = 60000000, 60000
-- What is renewed is kept longer than needed, so that it need not be renewed at every call.
local SLACK_MS = 600000
-- Of requests in one call, so that a gateway that died with many does not make the others wait.
local MOST_EXPIRED = 500
-- Of a level far above its limit; Redis takes no lifetime of a thousand years.
local MOST_KEPT_MS = 31 * 86400000
local BILLION = 1000000000

-- A state: requests in flight; level of requests, and when it stood there (microseconds); likewise
-- of tokens; until when all of it is kept (milliseconds); then the accounts, one for each period.
local IN_FLIGHT, REQUESTS, REQUESTS_AT, TOKENS, TOKENS_AT, KEPT_MS, ACCOUNTS = 1, 2, 3, 4, 5, 6, 7
local STATE = '>dddddd'
-- An account: its period; reserved; spent, in billions of nano-dollars and the rest; until when what
-- was spent is remembered (milliseconds).
local PERIOD, RESERVED, BILLIONS, REST, FORGET_MS = 1, 2, 3, 4, 5
local ACCOUNT = '>Bc0dddd'

-- A claim, as `admit` gets it: the scope's key; requests per minute, tokens per minute, concurrent
-- requests (each -1: no limit; the last NOT_IN_FLIGHT: it adds to a claim that is counted already);
-- tokens; nano-dollars; then period, limit and lifetime (milliseconds) of each budget.
local NOT_IN_FLIGHT = -2
local KEY, RPM, TPM, MOST, CLAIMED, MONEY, BUDGETS = 1, 2, 3, 4, 5, 6, 7
-- A segment of a record: when its claims expire, 1 while they are in flight, the claims.
local DEADLINE, RUNNING, CLAIMS = 1, 2, 3
local SEGMENT = '>dBI4c0'

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local now_ms = floor(now / 1000)

local function unpack_state(packed)
  if not packed then
    return { 0, 0, 0, 0, 0, 0, {} }
  end
  local state = { struct.unpack(STATE, packed) }
  local accounts, next_one = {}, state[ACCOUNTS]
  while next_one <= #packed do
    local account = { struct.unpack(ACCOUNT, packed, next_one) }
    next_one = account[6]
    accounts[#accounts + 1] = account
  end
  state[ACCOUNTS] = accounts
  if state[REQUESTS_AT] > now or state[TOKENS_AT] > now then
    -- A clock that was set back (another server took over) would block a full scope until it has
    -- caught up.
    state[REQUESTS_AT], state[TOKENS_AT] = min(state[REQUESTS_AT], now), min(state[TOKENS_AT], now)
    state.turned_back = true
  end
  return state
end

-- Keep a state at least until `needed_ms`, without accounts that say nothing any more.
local function keep(key, state, needed_ms)
  local packed = ''
  for _, account in ipairs(state[ACCOUNTS]) do
    local spent = account[BILLIONS] > 0 or account[REST] > 0
    if account[RESERVED] > 0 or (spent and account[FORGET_MS] > now_ms) then
      packed = packed .. struct.pack(ACCOUNT, #account[PERIOD], unpack(account, 1, FORGET_MS))
    end
  end
  if packed == '' and state[IN_FLIGHT] + state[REQUESTS] + state[TOKENS] == 0 then
    redis.call('DEL', key)
  elseif needed_ms <= state[KEPT_MS] then
    redis.call('SET', key, struct.pack(STATE, unpack(state, 1, KEPT_MS)) .. packed, 'KEEPTTL')
  else
    state[KEPT_MS] = needed_ms + SLACK_MS
    packed = struct.pack(STATE, unpack(state, 1, KEPT_MS)) .. packed
    redis.call('SET', key, packed, 'PX', state[KEPT_MS] - now_ms)
  end
end

-- Where a level stands now: it sinks by `limit` in a minute.
local function level(value, at, limit)
  return max(0, value - limit * (now - at) / WINDOW_US)
end

local function account_of(state, period)
  for _, account in ipairs(state[ACCOUNTS]) do
    if account[PERIOD] == period then
      return account
    end
  end
end

local function open_account(state, period, lifetime_ms)
  local account = { period, 0, 0, 0, now_ms + lifetime_ms }
  table.insert(state[ACCOUNTS], account)
  return account
end

-- Take a claim that is in flight out of a state.
local function give_back(state, claim)
  if claim[MOST] ~= NOT_IN_FLIGHT then
    state[IN_FLIGHT] = max(0, state[IN_FLIGHT] - 1)
  end
  for i = BUDGETS, #claim, 3 do
    local account = account_of(state, claim[i])
    if account then
      account[RESERVED] = max(0, account[RESERVED] - claim[MONEY])
    end
  end
end

-- The segments of a record that are still remembered, nearly always one.
local function segments_of(packed)
  local segments, next_one = {}, 1
  while packed and next_one <= #packed do
    local segment = { struct.unpack(SEGMENT, packed, next_one) }
    next_one = segment[4]
    if segment[DEADLINE] + LATE_MS * 1000 > now then
      segments[#segments + 1] = segment
    end
  end
  return segments
end

local function pack_segment(deadline, running, claims)
  return struct.pack(SEGMENT, deadline, running, #claims, claims)
end

-- Write a record that exists anew, and when it is due.
local function rewrite(id, name, segments)
  local packed, first = '', nil
  for _, segment in ipairs(segments) do
    packed = packed .. pack_segment(segment[DEADLINE], segment[RUNNING], segment[CLAIMS])
    if segment[RUNNING] == 1 and (not first or segment[DEADLINE] < first) then
      first = segment[DEADLINE]
    end
  end
  redis.call('SET', name, packed, 'KEEPTTL')
  if first then
    redis.call('ZADD', due, first, id)
    if redis.call('PTTL', due) < 0 then
      redis.call('PEXPIRE', due, floor((first - now) / 1000) + LATE_MS + SLACK_MS)
    end
  end
end

-- Give back what a request claims: what outlived its lifetime, or all of it.
local function expire_request(id, all)
  -- A full server refuses only scripts that begin by adding; so none of them stops half way.
  redis.call('ZREM', due, id)
  local name = string.sub(due, 1, -4) .. 'r:' .. id
  local segments = segments_of(redis.call('GET', name))
  for _, segment in ipairs(segments) do
    if segment[RUNNING] == 1 and (all or segment[DEADLINE] <= now) then
      for _, claim in ipairs(cmsgpack.unpack(segment[CLAIMS])) do
        local state = unpack_state(redis.call('GET', claim[KEY]))
        give_back(state, claim)
        keep(claim[KEY], state, 0)
      end
      segment[RUNNING] = 0
    end
  end
  if #segments > 0 then
    rewrite(id, name, segments)
  end
end

-- Give back claims that outlived their lifetime; their records stay until they are forgotten.
-- Returns whether `due` exists already.
local function expire()
  local first = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')
  if not first[2] then
    return false
  end
  if tonumber(first[2]) > now then
    return true
  end
  local expired = redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, MOST_EXPIRED)
  for _, id in ipairs(expired) do
    expire_request(id)
  end
  return redis.call('EXISTS', due) == 1
end
