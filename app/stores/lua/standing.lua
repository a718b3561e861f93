-- Say where the limits of one scope stand.
--
-- ARGV: requests per minute, tokens per minute (-1: no limit), then the period of each budget.

local rpm, tpm = tonumber(ARGV[1]), tonumber(ARGV[2])

expire()
local periods = {}
for i = 1, #KEYS - 4 do
  periods[i] = ARGV[2 + i]
end
return standing(
  rpm >= 0 and level('requests', rpm) or 0, tpm >= 0 and level('tokens', tpm) or 0, periods
)
