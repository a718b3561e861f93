-- Take what a request claims of all scopes, or say what stands in the way and take nothing.
--
-- ARGV: request; lifetime in microseconds; as MessagePack, for each scope: requests per minute,
-- tokens per minute, concurrent requests (each -1: no limit), tokens, nano-dollars, then period,
-- limit and lifetime (milliseconds) of each budget.
-- Answers as `standing` does; else {scope, resource, budget, level or spent, rest of spent}, counted
-- from 0, or {-1} if the request already holds a claim.

local RPM, TPM, MOST, CLAIMED, MONEY, BUDGETS = 1, 2, 3, 4, 5, 6
local id, lifetime = ARGV[1], tonumber(ARGV[2])
local claims = cmsgpack.unpack(ARGV[3])

local function refusal(scope, resource, budget, amount, rest)
  return { scope, resource, budget, string.format('%.17g', amount), string.format('%.0f', rest) }
end

local due_exists = expire()
local known = redis.call('MGET', unpack(KEYS, 2))
local entries, held = {}, {}
if known[1] then
  for _, entry in ipairs(cmsgpack.unpack(known[1])) do
    if remembered(entry) then
      entries[#entries + 1] = entry
      held[entry[KEY]] = true
    end
  end
end

local deadline, kept_ms = now + lifetime, math.ceil(lifetime / 1000) + LATE_MS
local states, needed, answer = {}, {}, {}
for i, claim in ipairs(claims) do
  local key = KEYS[2 + i]
  if held[key] then
    return { -1 }
  end
  local state = unpacked(known[1 + i])
  turned_back(key, state)
  local rpm, tpm, most, reserve = claim[RPM], claim[TPM], claim[MOST], claim[MONEY]
  local needed_ms, requests, tokens = now_ms + kept_ms, 0, 0
  if rpm >= 0 then
    requests = level(state.requests, state.requests_at, rpm)
    if requests + 1 > rpm then
      return refusal(i - 1, 0, 0, requests, 0)
    end
    requests = requests + 1
    state.requests, state.requests_at = requests, now
    needed_ms = math.max(needed_ms, sunk_ms(requests, rpm))
  end
  if tpm >= 0 then
    tokens = level(state.tokens, state.tokens_at, tpm)
    if tokens + claim[CLAIMED] > tpm then
      return refusal(i - 1, 1, 0, tokens, 0)
    end
    tokens = tokens + claim[CLAIMED]
    state.tokens, state.tokens_at = tokens, now
    needed_ms = math.max(needed_ms, sunk_ms(tokens, tpm))
  end
  if most >= 0 and state.in_flight >= most then
    return refusal(i - 1, 2, 0, 0, 0)
  end
  state.in_flight = state.in_flight + 1
  say(answer, state, requests, tokens)
  local entry = { key, deadline, 1, claim[CLAIMED], reserve }
  for j = BUDGETS, #claim, 3 do
    local period, limit = claim[j], claim[j + 1]
    local account = account_of(state, period)
      or open_account(state, period, 0, 0, 0, now_ms + claim[j + 2])
    local spent = account.billions * BILLION + account.rest
    if spent >= limit or spent + account.reserved + reserve > limit then
      return refusal(i - 1, 3, (j - BUDGETS) / 3, account.billions, account.rest)
    end
    account.reserved = account.reserved + reserve
    needed_ms = math.max(needed_ms, account.forget_ms)
    say_account(answer, account)
    entry[#entry + 1] = period
  end
  states[i], needed[i] = state, needed_ms
  entries[#entries + 1] = entry
end

for i, state in ipairs(states) do
  keep(KEYS[2 + i], state, needed[i])
end
local record_ms, first = kept_ms, deadline
if known[1] then
  record_ms = math.max(record_ms, redis.call('PTTL', record))
  first = first_deadline(entries)
end
redis.call('SET', record, cmsgpack.pack(entries), 'PX', record_ms)
redis.call('ZADD', due, first, id)
if not due_exists or redis.call('PTTL', due) < kept_ms then
  redis.call('PEXPIRE', due, kept_ms + SLACK_MS)
end
return cmsgpack.pack(answer)
