-- Say where the limits of some scopes stand.
--
-- ARGV: as MessagePack, for each scope: requests per minute, tokens per minute (-1: no limit), then
-- the field of each budget.
-- Answers, separated by blanks, for each scope: level of requests, level of tokens, requests in
-- flight, then what is spent and reserved of each budget.

expire()
local answer = {}
for i, claim in ipairs(cmsgpack.unpack(ARGV[1])) do
  local key = KEYS[2 + i]
  local known = redis.call('HMGET', key, 'n', 'q', 'qt', 't', 'tt', unpack(claim, 3))
  local rpm, tpm = claim[1], claim[2]
  answer[#answer + 1] = exact(rpm >= 0 and level(key, 'qt', known[2], known[3], rpm) or 0)
  answer[#answer + 1] = exact(tpm >= 0 and level(key, 'tt', known[4], known[5], tpm) or 0)
  answer[#answer + 1] = known[1] or '0'
  for j = 3, #claim do
    local reserved, spent = budget(known[3 + j])
    answer[#answer + 1] = spent
    answer[#answer + 1] = string.format('%.0f', reserved)
  end
end
return table.concat(answer, ' ')
