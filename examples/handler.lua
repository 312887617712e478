-- A handler in a file of its own: the balances of accounts, from the topic of their bookings.
--
-- A booking's key is the account, its value the amount in cents, "-250" for example; a message without a
-- value closes the account. Who runs it (the command, a program of yours, a spec) makes the consumer;
-- nothing here knows where messages come from. handler_spec.lua tests it without Kafka.
--
--   bin/kafka-history -b ADDRESSES -t TOPIC examples/handler.lua

local balances = {}

local function handle(message)
  local account, amount = message.key, message:data()
  if not account then error "a booking without an account" end
  if not amount then
    balances[account] = nil
    return
  end
  local cents = amount:match "^[+-]?%d+$" and tonumber(amount)
  if not cents then error(("not an amount: %q"):format(amount)) end
  balances[account] = (balances[account] or 0) + cents
end

-- Called once, when all that was there at the start has been handled: the balances are true from now on.
local function caught_up()
  local accounts = {}
  for account in pairs(balances) do table.insert(accounts, account) end
  table.sort(accounts)
  for _, account in ipairs(accounts) do
    io.write(("%s\t%d\n"):format(account, balances[account]))
  end
end

return { handle = handle, caught_up = caught_up }
