-- Take what a request claims of all scopes, or say what stands in the way and take nothing.
--
-- ARGV: request; lifetime in microseconds; as MessagePack, for each scope: requests per minute,
-- tokens per minute, concurrent requests (each -1: no limit), tokens, nano-dollars, then field,
-- limit and lifetime (milliseconds) of each budget.
-- Answers as `standing` does; else {scope, resource, budget, level or spent}, counted from 0, or
-- {-1} if the request already holds a claim.

local RPM, TPM, MOST, CLAIMED, MONEY, BUDGETS = 1, 2, 3, 4, 5, 6
local id, lifetime = ARGV[1], tonumber(ARGV[2])
local claims = cmsgpack.unpack(ARGV[3])

local due_exists = expire()
local packed = redis.call('GET', record)
local entries, held = {}, {}
for _, entry in ipairs(packed and cmsgpack.unpack(packed) or {}) do
  if remembered(entry) then
    entries[#entries + 1] = entry
    held[entry[KEY]] = true
  end
end

local kept_ms = math.ceil(lifetime / 1000) + LATE_MS
local changes, kept, needed, begun, answer = {}, {}, {}, {}, {}
for i, claim in ipairs(claims) do
  local key = KEYS[2 + i]
  if held[key] then
    return { -1 }
  end
  local fields = {}
  for j = BUDGETS, #claim, 3 do
    fields[#fields + 1] = claim[j]
  end
  local known = redis.call('HMGET', key, 'n', 'x', 'q', 'qt', 't', 'tt', unpack(fields))
  local rpm, tpm, most, reserve = claim[RPM], claim[TPM], claim[MOST], claim[MONEY]
  local needed_until = now_ms + kept_ms
  local in_flight = (tonumber(known[1]) or 0) + 1
  local change = { 'HSET', key, 'n', in_flight }
  local requests, tokens = 0, 0
  if rpm >= 0 then
    requests = level(key, 'qt', known[3], known[4], rpm)
    if requests + 1 > rpm then
      return { i - 1, 0, 0, exact(requests) }
    end
    requests = requests + 1
    needed_until = math.max(needed_until, sunk_ms(requests, rpm))
    change[5], change[6], change[7], change[8] = 'q', requests, 'qt', now
  end
  if tpm >= 0 then
    tokens = level(key, 'tt', known[5], known[6], tpm)
    if tokens + claim[CLAIMED] > tpm then
      return { i - 1, 1, 0, exact(tokens) }
    end
    tokens = tokens + claim[CLAIMED]
    needed_until = math.max(needed_until, sunk_ms(tokens, tpm))
    local n = #change
    change[n + 1], change[n + 2], change[n + 3], change[n + 4] = 't', tokens, 'tt', now
  end
  if most >= 0 and in_flight > most then
    return { i - 1, 2, 0, '0' }
  end
  local said = #answer
  answer[said + 1], answer[said + 2] = exact(requests), exact(tokens)
  answer[said + 3] = in_flight
  for j = 1, #fields do
    local limit = claim[BUDGETS + 3 * j - 2]
    local reserved, spent, forget = budget(known[6 + j])
    local already = tonumber(spent)
    if already >= limit or already + reserved + reserve > limit then
      return { i - 1, 3, j - 1, spent }
    end
    if not forget then
      begun[i] = true
      forget = now_ms + claim[BUDGETS + 3 * j - 1]
    end
    if reserve > 0 or not known[6 + j] then
      reserved = reserved + reserve
      change[#change + 1], change[#change + 2] = fields[j], budget_text(reserved, spent, forget)
    end
    needed_until = math.max(needed_until, forget)
    said = #answer
    answer[said + 1], answer[said + 2] = spent, string.format('%.0f', reserved)
  end
  changes[i], kept[i], needed[i] = change, known[2], needed_until
end

local deadline = now + lifetime
for i, claim in ipairs(claims) do
  write(changes[i], kept[i], needed[i])
  if begun[i] then
    prune(KEYS[2 + i])
  end
  local entry = { KEYS[2 + i], deadline, 1, claim[CLAIMED], claim[MONEY] }
  for j = BUDGETS, #claim, 3 do
    entry[#entry + 1] = claim[j]
  end
  entries[#entries + 1] = entry
end

local record_ms, first = kept_ms, deadline
if packed then
  record_ms = math.max(record_ms, redis.call('PTTL', record))
  first = first_deadline(entries)
end
redis.call('SET', record, cmsgpack.pack(entries), 'PX', record_ms)
redis.call('ZADD', due, first, id)
if not due_exists or redis.call('PTTL', due) < kept_ms then
  redis.call('PEXPIRE', due, kept_ms + SLACK_MS)
end
return table.concat(answer, ' ')
