-- The fast build as a rock, in the place of the other one: Debian's librdkafka.a inside the module, with
-- mimalloc. `make` does it; it needs GNU make, cargo and what `tools/setup fast` names.
rockspec_format = "3.0"
package = "kafka-history-mimalloc"
version = "scm-1"
source = {
  url = "git+file://.",
}
description = {
  summary = "kafka-history with librdkafka and a fast allocator inside the module",
  detailed = [[
    The same modules as those of kafka-history, so install one of the two. librdkafka is linked statically,
    and takes its memory from mimalloc; the host's malloc stays what it is.
  ]],
  license = "MIT",
  labels = { "kafka", "messaging" },
}
supported_platforms = { "linux" }
dependencies = {
  "lua >= 5.1",
  -- Of the command alone.
  "argparse",
  "lua-cjson",
}
external_dependencies = {
  RDKAFKA = {
    header = "librdkafka/rdkafka.h",
  },
}
build = {
  type = "make",
  -- Another Lua may have been built for here before.
  build_target = "clean all",
  build_variables = {
    ALLOCATOR = "mimalloc",
    OUT = "build/rock",
    CFLAGS = "$(CFLAGS)",
    LUA_CFLAGS = "-I$(LUA_INCDIR)",
  },
  install_target = "install-modules",
  install_variables = {
    ALLOCATOR = "mimalloc",
    OUT = "build/rock",
    CFLAGS = "$(CFLAGS)",
    LUA_CFLAGS = "-I$(LUA_INCDIR)",
    INST_LIBDIR = "$(LIBDIR)",
    INST_LUADIR = "$(LUADIR)",
  },
  install = {
    bin = { "bin/kafka-history" },
  },
}
