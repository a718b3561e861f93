-- Say where the limits of some scopes stand.
--
-- ARGV: as MessagePack, for each scope: requests per minute, tokens per minute (-1: no limit), then
-- the period of each budget.
-- Answers, as MessagePack, for each scope: level of requests, level of tokens, requests in flight,
-- then of each budget what is reserved, and spent: billions of nano-dollars, and the rest.

expire()
local known = redis.call('MGET', unpack(KEYS, 3))
local answer = {}
for i, claim in ipairs(cmsgpack.unpack(ARGV[1])) do
  local state = unpacked(known[i])
  turned_back(KEYS[2 + i], state)
  local rpm, tpm = claim[1], claim[2]
  say(
    answer,
    state,
    rpm >= 0 and level(state.requests, state.requests_at, rpm) or 0,
    tpm >= 0 and level(state.tokens, state.tokens_at, tpm) or 0
  )
  for j = 3, #claim do
    say_account(answer, account_of(state, claim[j]))
  end
end
return cmsgpack.pack(answer)
