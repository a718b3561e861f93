-- What every script begins with. All keys share one hash tag: whatever a request claims is checked
-- and taken in one step, and what has expired is given back wherever it was claimed.
--
-- KEYS[1] due      sorted set: request -> when the first of its claims expires, in microseconds
-- KEYS[2] record   string: the claims of one request, as `entry` below; forgotten by its lifetime
-- KEYS[3...]       hashes, one for each scope:
--                  n            requests in flight
--                  q, qt; t, tt level and time of requests and tokens
--                  b:<period>   reserved, spent, when it may be forgotten (milliseconds)
--                  x            until when the hash is kept (milliseconds)
--
-- Numbers are doubles here: whole up to 2^53, nine million dollars in billionths. What is spent may
-- exceed that and stays a string of digits; only comparisons round.

local due, record = KEYS[1], KEYS[2]
local WINDOW_US, WINDOW_MS = 60000000, 60000
-- What is renewed is kept longer than needed, so that it need not be renewed at every call.
local SLACK_MS = 600000
local MOST_EXPIRED = 1000
local WHOLE = 9007199254740992
local BILLION = 1000000000

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local now_ms = math.floor(now / 1000)

-- An entry of a record: the scope's key, when it expires, 1 while it is in flight, tokens,
-- nano-dollars, then the fields of its budgets.
local KEY, DEADLINE, RUNNING, TOKENS, RESERVE, FIELDS = 1, 2, 3, 4, 5, 6

local function exact(number)
  return string.format('%.17g', number)
end

local function add(text, amount)
  local sum = tonumber(text) + amount
  if sum < WHOLE then
    return string.format('%.0f', sum)
  end
  local low = tonumber(string.sub(text, -9)) + amount % BILLION
  local high = (tonumber(string.sub(text, 1, -10)) or 0) + math.floor(amount / BILLION)
  return string.format('%.0f%09.0f', high + math.floor(low / BILLION), low % BILLION)
end

-- Return what is reserved and spent of a budget, and when that may be forgotten.
local function budget(text)
  if not text then
    return 0, '0', nil
  end
  local reserved, spent, forget = string.match(text, '^(%S+) (%S+) (%S+)$')
  return tonumber(reserved), spent, tonumber(forget)
end

local function budget_text(reserved, spent, forget)
  return string.format('%.0f %s %.0f', math.max(0, reserved), spent, forget)
end

-- Where a rate's level stands now: it sinks by `limit` in a minute.
local function level(key, name, value, at, limit)
  at = tonumber(at) or now
  if now < at then
    -- A clock that was set back (another server took over) would block a full scope until it has
    -- caught up.
    redis.call('HSET', key, name, now)
    at = now
  end
  return math.max(0, (tonumber(value) or 0) - limit * (now - at) / WINDOW_US)
end

-- Until when a level has to be kept: what was settled above the limit takes longer to sink.
local function sunk_ms(value, limit)
  return now_ms + math.ceil(math.max(1, value / limit) * WINDOW_MS) + LATE_MS
end

-- Change fields of a scope's hash (`HSET`, its key, fields and values), and keep it long enough.
local function write(change, kept_until, needed_until)
  if needed_until <= (tonumber(kept_until) or 0) then
    redis.call(unpack(change))
    return
  end
  local until_ms = needed_until + SLACK_MS
  change[#change + 1] = 'x'
  change[#change + 1] = until_ms
  -- First what a full server refuses: nothing may be done by halves.
  redis.call(unpack(change))
  redis.call('PEXPIRE', change[2], until_ms - now_ms)
end

-- Forget the budgets of periods that are long over; called when a new one begins.
local function prune(key)
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 2) == 'b:' then
      local reserved, _, forget = budget(all[i + 1])
      if reserved == 0 and forget <= now_ms then
        redis.call('HDEL', key, all[i])
      end
    end
  end
end

-- Delete a hash in which nothing is left but the `n_fields` that were looked at.
local function deleted(key, n_fields)
  if redis.call('HLEN', key) > n_fields then
    return false
  end
  redis.call('DEL', key)
  return true
end

-- Give back what an entry took, and book what was used in its place (`settled`: tokens,
-- nano-dollars, tokens per minute or -1, then field and lifetime in milliseconds of each budget).
local function give_back(entry, settled)
  local key = entry[KEY]
  local fields, place = {}, {}
  for i = FIELDS, #entry do
    fields[#fields + 1] = entry[i]
    place[entry[i]] = #fields
  end
  local cost, tpm = settled and settled[2] or 0, settled and settled[3] or -1
  if cost > 0 then
    for i = 4, #settled, 2 do
      if not place[settled[i]] then
        fields[#fields + 1] = settled[i]
        place[settled[i]] = #fields
      end
    end
  end
  local known = redis.call('HMGET', key, 'n', 'x', 'q', 't', 'tt', unpack(fields))
  local change, needed_until, anything = { 'HSET', key }, 0, known[3] or known[4]
  local n_fields = 0
  local in_flight = tonumber(known[1]) or 0
  if entry[RUNNING] == 1 then
    in_flight = math.max(0, in_flight - 1)
    change[3], change[4] = 'n', in_flight
  end
  if tpm >= 0 then
    local value = level(key, 'tt', known[4], known[5], tpm) + settled[1] - entry[TOKENS]
    value = math.max(0, value)
    local i = #change
    change[i + 1], change[i + 2], change[i + 3], change[i + 4] = 't', value, 'tt', now
    needed_until = sunk_ms(value, tpm)
    anything = true
  end
  local reserved, spent, forget, changed = {}, {}, {}, {}
  for i = 1, #fields do
    reserved[i], spent[i], forget[i] = budget(known[5 + i])
    if known[5 + i] then
      n_fields = n_fields + 1
    end
  end
  if entry[RUNNING] == 1 and entry[RESERVE] > 0 then
    for i = 1, #entry - FIELDS + 1 do
      reserved[i], changed[i] = reserved[i] - entry[RESERVE], true
    end
  end
  if cost > 0 then
    for j = 4, #settled, 2 do
      local i = place[settled[j]]
      if not forget[i] then
        prune(key)
        forget[i] = now_ms + settled[j + 1]
      end
      spent[i], changed[i] = add(spent[i], cost), true
      needed_until = math.max(needed_until, forget[i])
    end
  end
  for i = 1, #fields do
    if changed[i] then
      local text = budget_text(reserved[i], spent[i], forget[i] or now_ms)
      change[#change + 1], change[#change + 2] = fields[i], text
    end
    anything = anything or reserved[i] > 0 or spent[i] ~= '0'
  end
  if #change == 2 then
    return
  end
  n_fields = n_fields + (known[1] and 1 or 0) + (known[2] and 1 or 0)
  if anything or in_flight > 0 or not deleted(key, n_fields) then
    write(change, known[2], needed_until)
  end
end

local function remembered(entry)
  return entry[DEADLINE] + LATE_MS * 1000 > now
end

-- Say when the first of the claims expires that are in flight, nil if none is.
local function first_deadline(entries)
  local first
  for _, entry in ipairs(entries) do
    if entry[RUNNING] == 1 and (not first or entry[DEADLINE] < first) then
      first = entry[DEADLINE]
    end
  end
  return first
end

-- Give back claims that outlived their lifetime; their records stay until they are forgotten.
-- Returns whether `due` exists already.
local function expire()
  local first = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')
  if not first[2] then
    return false
  end
  if tonumber(first[2]) > now then
    return true
  end
  local base = string.sub(due, 1, -4)
  local expired = redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, MOST_EXPIRED)
  for _, id in ipairs(expired) do
    -- A full server refuses only scripts that begin by adding; so none of them stops half way.
    redis.call('ZREM', due, id)
    local name = base .. 'r:' .. id
    local packed = redis.call('GET', name)
    if packed then
      local entries = cmsgpack.unpack(packed)
      for _, entry in ipairs(entries) do
        if entry[RUNNING] == 1 and entry[DEADLINE] <= now then
          give_back(entry)
          entry[RUNNING] = 0
        end
      end
      redis.call('SET', name, cmsgpack.pack(entries), 'KEEPTTL')
      local next_deadline = first_deadline(entries)
      if next_deadline then
        redis.call('ZADD', due, next_deadline, id)
      end
    end
  end
  return redis.call('EXISTS', due) == 1
end
