-- Replace what a request claimed by what it used, in the scopes where it holds a claim.
--
-- ARGV: request; as MessagePack, for each scope: tokens, nano-dollars, tokens per minute (-1: no
-- limit), then period and lifetime (milliseconds) of each budget.
-- Answers in how many scopes there was a claim.

local known = redis.call('MGET', unpack(KEYS, 2))
if not known[1] then
  return 0
end
local settlements = cmsgpack.unpack(ARGV[2])
local place = {}
for i = 1, #settlements do
  place[KEYS[2 + i]] = i
end
local ended, left = {}, {}
for _, entry in ipairs(cmsgpack.unpack(known[1])) do
  if place[entry[KEY]] and remembered(entry) then
    ended[#ended + 1] = entry
  else
    left[#left + 1] = entry
  end
end
if #ended == 0 then
  return 0
end
-- A full server refuses only scripts that begin by adding; so this one always ends.
redis.call('ZREM', due, ARGV[1])
if #left == 0 then
  redis.call('DEL', record)
else
  redis.call('SET', record, cmsgpack.pack(left), 'KEEPTTL')
  local first = first_deadline(left)
  if first then
    redis.call('ZADD', due, first, ARGV[1])
  end
end

for _, entry in ipairs(ended) do
  local i = place[entry[KEY]]
  local settled, state, needed_ms = settlements[i], unpacked(known[1 + i]), 0
  local cost, tpm = settled[2], settled[3]
  give_back(state, entry)
  if tpm >= 0 then
    local tokens = level(state.tokens, math.min(state.tokens_at, now), tpm)
    state.tokens, state.tokens_at = math.max(0, tokens + settled[1] - entry[TOKENS]), now
    needed_ms = sunk_ms(state.tokens, tpm)
  end
  if cost > 0 then
    for j = 4, #settled, 2 do
      local account = account_of(state, settled[j])
        or open_account(state, settled[j], 0, 0, 0, now_ms + settled[j + 1])
      local rest = account.rest + cost % BILLION
      account.billions = account.billions + math.floor(cost / BILLION) + math.floor(rest / BILLION)
      account.rest = rest % BILLION
      needed_ms = math.max(needed_ms, account.forget_ms)
    end
  end
  keep(entry[KEY], state, needed_ms)
end
return #ended
