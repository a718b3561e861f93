-- Take what a request claims of all scopes, or say what stands in the way and take nothing.
--
-- ARGV: request; lifetime in microseconds; the claims, in the order of KEYS, as MessagePack.
-- Answers as `standing` does; else {scope, resource, budget, level or spent, rest of spent}, counted
-- from 0, or {-1} if the request already holds a claim.

local id, lifetime = ARGV[1], tonumber(ARGV[2])

local function refusal(scope, resource, budget, amount, rest)
  return { scope, resource, budget, string.format('%.17g', amount), string.format('%.0f', rest) }
end

local due_exists = expire()
local known = redis.call('MGET', unpack(KEYS, 2))
local segments, held = segments_of(known[1]), {}
for _, segment in ipairs(segments) do
  for _, claim in ipairs(cmsgpack.unpack(segment[CLAIMS])) do
    held[claim[KEY]] = true
  end
end

local kept_ms = math.ceil(lifetime / 1000) + LATE_MS
local state_ms = now_ms + max(kept_ms, WINDOW_MS + LATE_MS)
local states, needed, answer, n = {}, {}, {}, 0
for i, claim in ipairs(cmsgpack.unpack(ARGV[3])) do
  local key = claim[KEY]
  if held[key] then
    return { -1 }
  end
  local state = unpack_state(known[1 + i])
  if state.turned_back then
    keep(key, state, 0)
  end
  local rpm, tpm, most, money = claim[RPM], claim[TPM], claim[MOST], claim[MONEY]
  local needed_ms, requests, tokens = state_ms, 0, 0
  if rpm >= 0 then
    requests = level(state[REQUESTS], state[REQUESTS_AT], rpm) + 1
    if requests > rpm then
      return refusal(i - 1, 0, 0, requests - 1, 0)
    end
  end
  if tpm >= 0 then
    tokens = level(state[TOKENS], state[TOKENS_AT], tpm) + claim[CLAIMED]
    if tokens > tpm then
      return refusal(i - 1, 1, 0, tokens - claim[CLAIMED], 0)
    end
  end
  if most >= 0 and state[IN_FLIGHT] >= most then
    return refusal(i - 1, 2, 0, 0, 0)
  end
  answer[n + 1], answer[n + 2], answer[n + 3] = requests, tokens, state[IN_FLIGHT] + 1
  n = n + 3
  for j = BUDGETS, #claim, 3 do
    local account = account_of(state, claim[j]) or open_account(state, claim[j], claim[j + 2])
    local spent, limit = account[BILLIONS] * BILLION + account[REST], claim[j + 1]
    if spent >= limit or spent + account[RESERVED] + money > limit then
      local budget = (j - BUDGETS) / 3
      return refusal(i - 1, 3, budget, account[BILLIONS], account[REST])
    end
    account[RESERVED] = account[RESERVED] + money
    needed_ms = max(needed_ms, account[FORGET_MS])
    answer[n + 1], answer[n + 2], answer[n + 3] = account[RESERVED], account[BILLIONS], account[REST]
    n = n + 3
  end
  if rpm >= 0 then
    state[REQUESTS], state[REQUESTS_AT] = requests, now
  end
  if tpm >= 0 then
    state[TOKENS], state[TOKENS_AT] = tokens, now
  end
  state[IN_FLIGHT] = state[IN_FLIGHT] + 1
  states[i], needed[i] = state, needed_ms
end

for i, state in ipairs(states) do
  keep(KEYS[2 + i], state, needed[i])
end
local deadline = now + lifetime
if #segments == 0 then
  redis.call('SET', record, pack_segment(deadline, 1, ARGV[3]), 'PX', kept_ms)
  redis.call('ZADD', due, deadline, id)
else
  redis.call('PEXPIRE', record, max(kept_ms, redis.call('PTTL', record)))
  segments[#segments + 1] = { deadline, 1, ARGV[3] }
  rewrite(id, record, segments)
end
if not due_exists or redis.call('PTTL', due) < kept_ms then
  redis.call('PEXPIRE', due, kept_ms + SLACK_MS)
end
return cmsgpack.pack(answer)
