-- Take what a request claims of all scopes, or say what stands in the way and take nothing.
--
-- ARGV: request; lifetime in microseconds; the claims, in the order of KEYS, as MessagePack; likewise
-- with how much money each can do at least.
-- Answers as `standing` does; else {scope, resource, budget, level or spent, rest of spent, reserved},
-- counted from 0, or {-1} if the request already holds a claim.

local id, lifetime = ARGV[1], tonumber(ARGV[2])

local function refusal(scope, resource, budget, amount, rest, reserved)
  return {
    scope, resource, budget, string.format('%.17g', amount), string.format('%.0f', rest),
    string.format('%.0f', reserved or 0),
  }
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
local claims, least, room = cmsgpack.unpack(ARGV[3]), cmsgpack.unpack(ARGV[4]), math.huge
for i, claim in ipairs(claims) do
  local key = claim[KEY]
  if held[key] then
    return { -1 }
  end
  local state = unpack_state(known[1 + i])
  if state.turned_back then
    keep(key, state, 0)
  end
  local rpm, tpm, most = claim[RPM], claim[TPM], claim[MOST]
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
  for j = BUDGETS, #claim, 3 do
    local account = account_of(state, claim[j]) or open_account(state, claim[j], claim[j + 2])
    local spent, limit = account[BILLIONS] * BILLION + account[REST], claim[j + 1]
    if spent >= limit or spent + account[RESERVED] + least[i] > limit then
      local budget = (j - BUDGETS) / 3
      return refusal(i - 1, 3, budget, account[BILLIONS], account[REST], account[RESERVED])
    end
    room = min(room, limit - spent - account[RESERVED])
    needed_ms = max(needed_ms, account[FORGET_MS])
  end
  if rpm >= 0 then
    state[REQUESTS], state[REQUESTS_AT] = requests, now
  end
  if tpm >= 0 then
    state[TOKENS], state[TOKENS_AT] = tokens, now
  end
  if most ~= NOT_IN_FLIGHT then
    state[IN_FLIGHT] = state[IN_FLIGHT] + 1
  end
  answer[n + 1], answer[n + 2], answer[n + 3] = requests, tokens, state[IN_FLIGHT]
  answer[n + 4] = 0
  n = n + 4 + #claim - BUDGETS + 1
  states[i], needed[i] = state, needed_ms
end

-- All scopes let it pass: now the money is taken, no more than the poorest budget has left.
local less = false
n = 0
for i, claim in ipairs(claims) do
  local state = states[i]
  if #claim >= BUDGETS then
    local money = max(least[i], min(claim[MONEY], room))
    if money ~= claim[MONEY] then
      claim[MONEY], less = money, true
    end
    answer[n + 4] = money
  end
  n = n + 4
  for j = BUDGETS, #claim, 3 do
    local account = account_of(state, claim[j])
    account[RESERVED] = account[RESERVED] + claim[MONEY]
    answer[n + 1], answer[n + 2], answer[n + 3] = account[RESERVED], account[BILLIONS], account[REST]
    n = n + 3
  end
  keep(KEYS[2 + i], state, needed[i])
end
-- What is given back in the end is what was taken.
local taken = less and cmsgpack.pack(claims) or ARGV[3]
local deadline = now + lifetime
if #segments == 0 then
  redis.call('SET', record, pack_segment(deadline, 1, taken), 'PX', kept_ms)
  redis.call('ZADD', due, deadline, id)
else
  redis.call('PEXPIRE', record, max(kept_ms, redis.call('PTTL', record)))
  segments[#segments + 1] = { deadline, 1, taken }
  rewrite(id, record, segments)
end
if not due_exists or redis.call('PTTL', due) < kept_ms then
  redis.call('PEXPIRE', due, kept_ms + SLACK_MS)
end
return cmsgpack.pack(answer)
