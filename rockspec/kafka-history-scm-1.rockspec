rockspec_format = "3.0"
package = "kafka-history"
version = "scm-1"
source = {
  url = "git+file://.",
}
description = {
  summary = "Reads Kafka topics from the beginning and says when it has caught up",
  detailed = [[
    A consumer of histories on librdkafka: it reads topics from the beginning, says once and reliably
    when everything that was there at the start has been handled, and goes on with live messages.
  ]],
  license = "MIT",
  labels = { "kafka", "messaging" },
}
supported_platforms = { "unix" }
dependencies = {
  "lua >= 5.1",
  -- Of the command alone.
  "argparse",
  "lua-cjson",
}
external_dependencies = {
  RDKAFKA = {
    header = "librdkafka/rdkafka.h",
    library = "rdkafka",
  },
  UTHASH = { header = "uthash.h" },
  XXHASH = { header = "xxhash.h" },
}
test_dependencies = {
  "busted",
}
test = {
  type = "busted",
}
build = {
  type = "builtin",
  modules = {
    ["kafka_history.core"] = {
      sources = {
        "src/engine/access.c",
        "src/engine/asker.c",
        "src/engine/catchup.c",
        "src/engine/clock.c",
        "src/engine/config.c",
        "src/engine/consumer.c",
        "src/engine/consumer_answers.c",
        "src/engine/consumer_decisions.c",
        "src/engine/consumer_member.c",
        "src/engine/consumer_messages.c",
        "src/engine/consumer_refusals.c",
        "src/engine/contacts.c",
        "src/engine/description.c",
        "src/engine/endings.c",
        "src/engine/error.c",
        "src/engine/fetching.c",
        "src/engine/group.c",
        "src/engine/handles.c",
        "src/engine/headers.c",
        "src/engine/helper.c",
        "src/engine/job.c",
        "src/engine/keys.c",
        "src/engine/latch.c",
        "src/engine/latest.c",
        "src/engine/library.c",
        "src/engine/meter.c",
        "src/engine/near.c",
        "src/engine/places.c",
        "src/engine/record.c",
        "src/engine/report.c",
        "src/engine/snapshot.c",
        "src/engine/start.c",
        "src/engine/tell.c",
        "src/engine/view.c",
        "src/engine/wakeup.c",
        "src/lua/alarm.c",
        "src/lua/binding.c",
        "src/lua/broker.c",
        "src/lua/consumer.c",
        "src/lua/doorbell.c",
        "src/lua/json.c",
        "src/lua/message.c",
        "src/lua/module.c",
        "src/lua/producer.c",
        "src/lua/records.c",
        "src/lua/view.c",
        "src/lua/waitable.c",
      },
      libraries = { "rdkafka", "pthread" },
      incdirs = { "$(RDKAFKA_INCDIR)", "$(UTHASH_INCDIR)", "$(XXHASH_INCDIR)" },
      libdirs = { "$(RDKAFKA_LIBDIR)" },
    },
    kafka_history = "lua/kafka_history/init.lua",
    ["kafka_history.broker"] = "lua/kafka_history/broker.lua",
    ["kafka_history.cli.arguments"] = "lua/kafka_history/cli/arguments.lua",
    ["kafka_history.cli.embedded"] = "lua/kafka_history/cli/embedded.lua",
    ["kafka_history.cli.failure"] = "lua/kafka_history/cli/failure.lua",
    ["kafka_history.cli.format"] = "lua/kafka_history/cli/format.lua",
    ["kafka_history.cli.handler"] = "lua/kafka_history/cli/handler.lua",
    ["kafka_history.cli.json"] = "lua/kafka_history/cli/json.lua",
    ["kafka_history.cli.output"] = "lua/kafka_history/cli/output.lua",
    ["kafka_history.cli.properties"] = "lua/kafka_history/cli/properties.lua",
    ["kafka_history.cli.run"] = "lua/kafka_history/cli/run.lua",
    ["kafka_history.cli.screen"] = "lua/kafka_history/cli/screen.lua",
    ["kafka_history.cli.session"] = "lua/kafka_history/cli/session.lua",
    ["kafka_history.cli.start"] = "lua/kafka_history/cli/start.lua",
    ["kafka_history.copas"] = "lua/kafka_history/copas.lua",
    ["kafka_history.cqueues"] = "lua/kafka_history/cqueues.lua",
    ["kafka_history.host"] = "lua/kafka_history/host.lua",
    ["kafka_history.luv"] = "lua/kafka_history/luv.lua",
    ["kafka_history.options"] = "lua/kafka_history/options.lua",
    ["kafka_history.producer"] = "lua/kafka_history/producer.lua",
    ["kafka_history.progress"] = "lua/kafka_history/progress.lua",
    ["kafka_history.reader"] = "lua/kafka_history/reader.lua",
    ["kafka_history.resty"] = "lua/kafka_history/resty.lua",
    ["kafka_history.resty_worker"] = "lua/kafka_history/resty_worker.lua",
    ["kafka_history.view"] = "lua/kafka_history/view.lua",
  },
  install = {
    bin = { "bin/kafka-history" },
  },
}
