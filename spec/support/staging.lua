-- Fills topics of a real broker, with and without transactions.

local kafka = require "support.kafka"
local producer = require "kafka_history.producer"

local staging = {}

local plain
local transactional = {}

local function plain_producer()
  plain = plain or assert(producer.new { addresses = kafka.addresses(), options = { ["linger.ms"] = 1 } })
  return plain
end

-- The producer with transactions of this number; two of them interleave theirs.
function staging.transactional(number)
  number = number or 1
  transactional[number] = transactional[number] or assert(producer.new {
    addresses = kafka.addresses(),
    transactional_id = kafka.topic_name("transactions"),
    options = { ["linger.ms"] = 1, ["transaction.timeout.ms"] = 120000 },
  })
  return transactional[number]
end

local function queue(to, topic, count, options)
  options = options or {}
  for i = 1, count do
    local key = options.keys and ((i - 1) % options.keys) or i
    assert(to:send(topic, { partition = options.partition or 0, key = (options.prefix or "key-") .. key,
      value = ("%s %d"):format(options.text or "value", i) }))
  end
end

local function send(to, topic, count, options)
  queue(to, topic, count, options)
  assert(to:flush(30))
end

-- Makes the producers know the topics, all at once: each topic that a producer meets later costs it up
-- to a second, since librdkafka asks for unknown ones once a second. The message, to a partition that
-- does not exist, is written nowhere.
function staging.prime(topics)
  local producers = { plain_producer(), staging.transactional(1), staging.transactional(2) }
  assert(producers[2]:begin())
  assert(producers[3]:begin())
  for _, one in ipairs(producers) do
    for _, topic in ipairs(topics) do assert(one:send(topic, { partition = 100000, value = "prime" })) end
  end
  for _, one in ipairs(producers) do one:flush(30) end
  assert(producers[2]:abort())
  assert(producers[3]:abort())
end

-- Sends without waiting; flush does.
function staging.queue(topic, count, options)
  queue(plain_producer(), topic, count, options)
end

function staging.flush()
  assert(plain_producer():flush(30))
end

-- Sends and waits until the messages are in the log. options: partition (0), keys (how many
-- different ones), prefix (of the keys), text (what the values begin with).
function staging.send(topic, count, options)
  send(plain_producer(), topic, count, options)
end

-- The same to each of the partitions 0 to partitions - 1.
function staging.send_to_all(topic, partitions, count)
  for partition = 0, partitions - 1 do staging.queue(topic, count, { partition = partition }) end
  staging.flush()
end

-- Two messages to each partition of a watched reader's ends: no history, once it has begun. Returns
-- how many they are.
function staging.send_live(ends)
  local count = 0
  for name in pairs(ends) do
    local topic, partition = name:match("^(.*)%[(%d+)%]$")
    staging.queue(topic, 2, { partition = tonumber(partition), text = "live" })
    count = count + 2
  end
  staging.flush()
  return count
end

-- Begins a transaction and puts messages into the log; the caller ends it.
function staging.open(topic, count, options)
  local to = staging.transactional(options and options.number)
  assert(to:begin())
  send(to, topic, count, options)
  return to
end

function staging.commit(topic, count, options)
  assert(staging.open(topic, count, options):commit())
end

-- They are in the log before it is aborted: an abort drops what is still on its way.
function staging.abort(topic, count, options)
  assert(staging.open(topic, count, options):abort())
end

-- Sends within a transaction that is open.
function staging.send_more(to, topic, count, options)
  send(to, topic, count, options)
end

-- A child process that writes without a pause (some thousands a second); returns a function that
-- ends it. It ends by itself after some 30 s.
function staging.write_for_ever(topic, partition)
  local pipe = assert(io.popen(([[
    exec bash -c 'exec 3> >(exec kcat -P -b "$1" -t "$2" -p "$3" -K : -X linger.ms=2 >/dev/null 2>&1)
      echo $$
      exec >/dev/null
      for ((i = 0; i < 3000; i++)); do
        printf "k:%%s\n" {1..40} >&3 || exit
        sleep 0.01
      done' bash %s %s %d 2>/dev/null]]):format(kafka.addresses(), topic, partition), "r"))
  local pid = assert(pipe:read("*l"):match("^%d+$"))
  return function()
    os.execute("kill " .. pid)
    pipe:close()
  end
end

function staging.close()
  if plain then plain:close() end
  for _, one in pairs(transactional) do one:close() end
  plain, transactional = nil, {}
end

return staging
