-- Replace what a request claimed by what it used, in the scopes where it holds a claim.
--
-- ARGV: request; as MessagePack, for each scope: tokens, nano-dollars, tokens per minute (-1: no
-- limit), then field and lifetime (milliseconds) of each budget.
-- Answers in how many scopes there was a claim.

local packed = redis.call('GET', record)
if not packed then
  return 0
end
local settlements = cmsgpack.unpack(ARGV[2])
local of_scope = {}
for i, settled in ipairs(settlements) do
  of_scope[KEYS[2 + i]] = settled
end
local ended, left = {}, {}
for _, entry in ipairs(cmsgpack.unpack(packed)) do
  if of_scope[entry[KEY]] and remembered(entry) then
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
  give_back(entry, of_scope[entry[KEY]])
end
return #ended
