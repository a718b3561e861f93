-- Say where the limits of some scopes stand.
--
-- ARGV: as MessagePack, for each scope: requests per minute, tokens per minute (-1: no limit), then
-- the period of each budget.
-- Answers, as MessagePack, for each scope: level of requests, level of tokens, requests in flight,
-- nano-dollars that were granted just now (here none), then of each budget what is reserved, and
-- spent: billions of nano-dollars, and the rest.

expire()
local known = redis.call('MGET', unpack(KEYS, 3))
local answer, nothing = {}, { nil, 0, 0, 0 }
for i, claim in ipairs(cmsgpack.unpack(ARGV[1])) do
  local state, rpm, tpm = unpack_state(known[i]), claim[1], claim[2]
  local n = #answer
  answer[n + 1] = rpm >= 0 and level(state[REQUESTS], state[REQUESTS_AT], rpm) or 0
  answer[n + 2] = tpm >= 0 and level(state[TOKENS], state[TOKENS_AT], tpm) or 0
  answer[n + 3], answer[n + 4] = state[IN_FLIGHT], 0
  n = n + 1
  for j = 3, #claim do
    n = n + 3
    local account = account_of(state, claim[j]) or nothing
    answer[n + 1], answer[n + 2], answer[n + 3] = account[RESERVED], account[BILLIONS], account[REST]
  end
end
return cmsgpack.pack(answer)
