-- Replace what a request claimed by what it used, in the scopes where it holds a claim.
--
-- ARGV: request; as MessagePack, for each scope: tokens, nano-dollars, tokens per minute (-1: no
-- limit), then period and lifetime (milliseconds) of each budget.
-- Answers in how many scopes there was a claim.

local id = ARGV[1]
local known = redis.call('MGET', unpack(KEYS, 2))
local segments = segments_of(known[1])
if #segments == 0 then
  return 0
end

-- Replace one claim by what was used.
local function settle(key, packed, claim, running, settled)
  local state, needed_ms = unpack_state(packed), 0
  local cost, tpm = settled[2], settled[3]
  if running == 1 then
    give_back(state, claim)
  end
  if tpm >= 0 then
    local tokens = level(state[TOKENS], state[TOKENS_AT], tpm) + settled[1] - claim[CLAIMED]
    state[TOKENS], state[TOKENS_AT] = max(0, tokens), now
    -- What was settled above the limit takes longer than a minute to sink.
    needed_ms = now_ms + min(math.ceil(max(1, tokens / tpm) * WINDOW_MS) + LATE_MS, MOST_KEPT_MS)
  end
  if cost > 0 then
    for i = 4, #settled, 2 do
      local account = account_of(state, settled[i])
        or open_account(state, settled[i], settled[i + 1])
      local rest = account[REST] + cost % BILLION
      account[BILLIONS] = account[BILLIONS] + floor(cost / BILLION) + floor(rest / BILLION)
      account[REST] = rest % BILLION
      needed_ms = max(needed_ms, account[FORGET_MS])
    end
  end
  keep(key, state, needed_ms)
end

local settlements, place = cmsgpack.unpack(ARGV[2]), {}
for i = 1, #settlements do
  place[KEYS[2 + i]] = i
end
-- A full server refuses only scripts that begin by adding; so this one always ends.
redis.call('ZREM', due, id)
local n_settled, left = 0, {}
for _, segment in ipairs(segments) do
  local others = {}
  for _, claim in ipairs(cmsgpack.unpack(segment[CLAIMS])) do
    local i = place[claim[KEY]]
    if i then
      settle(claim[KEY], known[1 + i], claim, segment[RUNNING], settlements[i])
      n_settled = n_settled + 1
    else
      others[#others + 1] = claim
    end
  end
  if #others > 0 then
    left[#left + 1] = { segment[DEADLINE], segment[RUNNING], cmsgpack.pack(others) }
  end
end
if #left == 0 then
  redis.call('DEL', record)
else
  rewrite(id, record, left)
end
return n_settled
