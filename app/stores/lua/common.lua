-- What every script begins with. All keys share one hash tag: whatever a request claims is checked
-- and taken in one step, and what has expired is given back wherever it was claimed.
--
-- KEYS[1] due      sorted set: request -> when the first of its claims expires, in microseconds
-- KEYS[2] record   the claims of one request, as `entry` below; forgotten by its lifetime
-- KEYS[3...]       what is counted of each scope, as `unpacked` below
--
-- States are packed, since Lua spends most of its time on turning numbers into text and back: a
-- hash with a field for each number took twice as long. Numbers are doubles: whole up to 2^53, nine
-- million dollars in billionths. What is spent may exceed that, and is counted in two parts.

local due, record = KEYS[1], KEYS[2]
local WINDOW_US, WINDOW_MS = 60000000, 60000
-- What is renewed is kept longer than needed, so that it need not be renewed at every call.
local SLACK_MS = 600000
local MOST_EXPIRED = 1000
local BILLION = 1000000000
local STATE, ACCOUNT = '>dddddd', '>Bc0dddd'

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local now_ms = math.floor(now / 1000)

-- An entry of a record: the scope's key, when it expires, 1 while it is in flight, tokens,
-- nano-dollars, then the periods of its budgets.
local KEY, DEADLINE, RUNNING, TOKENS, RESERVE, PERIODS = 1, 2, 3, 4, 5, 6

-- Add the account of a period to a scope's.
local function open_account(state, period, reserved, billions, rest, forget_ms)
  local account = {
    period = period,
    reserved = reserved,
    -- Spent: billions of nano-dollars, and the rest.
    billions = billions,
    rest = rest,
    forget_ms = forget_ms,
  }
  state.accounts[#state.accounts + 1] = account
  return account
end

-- Requests in flight; level of requests, and when it stood there; likewise of tokens; until when
-- all of it is kept; an account for each period that money was reserved or spent in.
local function unpacked(packed)
  local state = { in_flight = 0, requests = 0, requests_at = 0, tokens = 0, tokens_at = 0 }
  state.kept_ms, state.accounts = 0, {}
  if not packed then
    return state
  end
  local next_one
  state.in_flight, state.requests, state.requests_at, state.tokens, state.tokens_at, state.kept_ms, next_one =
    struct.unpack(STATE, packed)
  while next_one <= #packed do
    local period, reserved, billions, rest, forget_ms
    period, reserved, billions, rest, forget_ms, next_one =
      struct.unpack(ACCOUNT, packed, next_one)
    open_account(state, period, reserved, billions, rest, forget_ms)
  end
  return state
end

-- Keep a state at least until `needed_ms`, without accounts that say nothing any more.
local function keep(key, state, needed_ms)
  local parts = { '' }
  for _, account in ipairs(state.accounts) do
    local spent = account.billions > 0 or account.rest > 0
    if account.reserved > 0 or (spent and account.forget_ms > now_ms) then
      parts[#parts + 1] = struct.pack(ACCOUNT, #account.period, account.period, account.reserved,
        account.billions, account.rest, account.forget_ms)
    end
  end
  if #parts == 1 and state.in_flight == 0 and state.requests == 0 and state.tokens == 0 then
    redis.call('DEL', key)
    return
  end
  local renew = needed_ms > state.kept_ms
  if renew then
    state.kept_ms = needed_ms + SLACK_MS
  end
  parts[1] = struct.pack(STATE, state.in_flight, state.requests, state.requests_at, state.tokens,
    state.tokens_at, state.kept_ms)
  if renew then
    redis.call('SET', key, table.concat(parts), 'PX', state.kept_ms - now_ms)
  else
    redis.call('SET', key, table.concat(parts), 'KEEPTTL')
  end
end

-- A clock that was set back (another server took over) would block a full scope until it has caught
-- up.
local function turned_back(key, state)
  if state.requests_at > now or state.tokens_at > now then
    state.requests_at = math.min(state.requests_at, now)
    state.tokens_at = math.min(state.tokens_at, now)
    keep(key, state, 0)
  end
end

-- Where a rate's level stands now: it sinks by `limit` in a minute.
local function level(value, at, limit)
  return math.max(0, value - limit * (now - at) / WINDOW_US)
end

-- Until when a level is kept: what was settled above the limit takes longer than a minute to sink.
local function sunk_ms(value, limit)
  return now_ms + math.ceil(math.max(1, value / limit) * WINDOW_MS) + LATE_MS
end

local function account_of(state, period)
  for _, account in ipairs(state.accounts) do
    if account.period == period then
      return account
    end
  end
end

-- Give back what an entry took.
local function give_back(state, entry)
  if entry[RUNNING] == 0 then
    return
  end
  state.in_flight = math.max(0, state.in_flight - 1)
  for i = PERIODS, #entry do
    local account = account_of(state, entry[i])
    if account then
      account.reserved = math.max(0, account.reserved - entry[RESERVE])
    end
  end
end

local function remembered(entry)
  return entry[DEADLINE] + LATE_MS * 1000 > now
end

-- Say when the first of the claims expires that are in flight, nil if none is.
local function first_deadline(entries)
  local first
  for _, entry in ipairs(entries) do
    if entry[RUNNING] == 1 and (not first or entry[DEADLINE] < first) then
      first = entry[DEADLINE]
    end
  end
  return first
end

local function expire_request(id)
  -- A full server refuses only scripts that begin by adding; so none of them stops half way.
  redis.call('ZREM', due, id)
  local name = string.sub(due, 1, -4) .. 'r:' .. id
  local packed = redis.call('GET', name)
  if not packed then
    return
  end
  local entries = cmsgpack.unpack(packed)
  for _, entry in ipairs(entries) do
    if entry[RUNNING] == 1 and entry[DEADLINE] <= now then
      local state = unpacked(redis.call('GET', entry[KEY]))
      give_back(state, entry)
      keep(entry[KEY], state, 0)
      entry[RUNNING] = 0
    end
  end
  redis.call('SET', name, cmsgpack.pack(entries), 'KEEPTTL')
  local next_deadline = first_deadline(entries)
  if next_deadline then
    redis.call('ZADD', due, next_deadline, id)
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

-- Add to an answer where a scope stands: level of requests, level of tokens, requests in flight,
-- then reserved and spent (in two parts) of each budget.
local function say(answer, state, requests, tokens)
  local n = #answer
  answer[n + 1], answer[n + 2], answer[n + 3] = requests, tokens, state.in_flight
end

local function say_account(answer, account)
  local n = #answer
  if account then
    answer[n + 1], answer[n + 2], answer[n + 3] = account.reserved, account.billions, account.rest
  else
    answer[n + 1], answer[n + 2], answer[n + 3] = 0, 0, 0
  end
end
