# kafka-history: build, test, install.
#
#   make demo            installs what is missing, builds, shows a history being read
#   make test            installs what is missing, builds, runs every test, a real Kafka included
#
#   make                 the module for Lua 5.4, in build/kafka_history/core.so
#   make LUA=luajit      the same for LuaJIT, beside it in build/luajit/
#   make SANITIZE=1      with AddressSanitizer and UBSan, beside it in build/sanitize/
#   make WAKEUP_PIPE=1   with a pipe where Linux has eventfd, beside it in build/pipe/
#   make ALLOCATOR=mimalloc    the fast build, beside it in build/mimalloc/: librdkafka inside the
#                        module, with an allocator of its own; the host keeps its malloc
#   make examples        the C programs of examples/, in build/examples/
#   make install         PREFIX=/usr/local, DESTDIR; with LUA=luajit for Lua 5.1 and LuaJIT
#
#   make sanitize        the tests of the engine and of the embedded broker under both sanitizers
#   make test-fast       the tests of the fast build
#   make nginx           four workers under load that read a million messages; reloads, faults, memory
#   make faults          brokers killed, stopped, moved; networks cut
#   make chaos           the same at random under a steady writer; KH_CHAOS_SECONDS=180, KH_CHAOS_SEED
#   make churn           members of a group that come, go and die at random, while it is written;
#                        KH_CHURN_SECONDS=120, KH_CHURN_SEED; with LIBRDKAFKA=2.16.0 also
#                        KH_CHURN_STRATEGY=cooperative or consumer
#   make matrix          what librdkafka has a part in, with newer ones than Debian's 2.0.2, which
#                        `make test` runs with; LIBRDKAFKA="2.10.1 2.11.1" for others
#   make bench           the module beside a plain C loop on librdkafka and other clients, on a real
#                        Kafka; 40 minutes. QUICK=1: a minute, on an embedded broker.
#                        LIBRDKAFKA=2.12.1: with that one; WHAT="read start wait hosts", one of them
#                        or more; bench/run says what else there is
#   make soak            memory while a topic is tailed live: SECONDS=1200, MESSAGES, FORM, LUA
#   make valgrind        the tests of the engine and most embedded ones under valgrind
#   make lint, format    luacheck and clang-format; `format` writes
#   make reference       the reference in doc/, made from doc/meta
#   make doc             the README and the manual as HTML, in build/doc/
#   make env             lines for a shell to use the module from here: eval "$(make -s env)"
#   make clean

LUA ?= lua5.4
CC ?= cc
PKG_CONFIG ?= pkg-config
CLANG_FORMAT ?= clang-format
LUACHECK ?= luacheck
PREFIX ?= /usr/local
# Those of `make matrix`, the last one the newest of November 2026. tools/librdkafka fetches them.
LIBRDKAFKA_MATRIX = 2.5.3 2.12.1 2.16.0

OUT = build
comma := ,
LUA_VERSION = 5.4
ifeq ($(LUA),luajit)
LUA_VERSION = 5.1
endif
INST_LIBDIR ?= $(PREFIX)/lib/lua/$(LUA_VERSION)
INST_LUADIR ?= $(PREFIX)/share/lua/$(LUA_VERSION)

# Where the sources of mimalloc are; tools/mimalloc fetches them there.
MIMALLOC ?= build/mimalloc/source-3.3.2

BASE := $(OUT)
ifneq ($(filter-out mimalloc,$(ALLOCATOR)),)
$(error ALLOCATOR=$(ALLOCATOR): mimalloc is the only one there is)
endif
ifeq ($(ALLOCATOR),mimalloc)
BASE := $(BASE)/mimalloc
endif
ifdef SANITIZE
BASE := $(BASE)/sanitize
endif
ifdef WAKEUP_PIPE
BASE := $(BASE)/pipe
endif
BUILD := $(BASE)
ifeq ($(LUA),luajit)
BUILD := $(BASE)/luajit
endif

WARNINGS = -Wall -Wextra -Wpedantic -Wshadow -Wcast-qual -Wstrict-prototypes -Wmissing-prototypes \
	-Wconversion -Werror
CFLAGS ?= -O2 -g
KH_CFLAGS = -std=c11 -D_POSIX_C_SOURCE=200809L -fPIC -fvisibility=hidden -pthread $(WARNINGS) -MMD -MP
KH_LIBS = -lrdkafka -pthread
ifdef SANITIZE
KH_CFLAGS += -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
endif
ifdef WAKEUP_PIPE
KH_CFLAGS += -DKH_WAKEUP_PIPE
endif
ifeq ($(ALLOCATOR),mimalloc)
# The archive has to be told by its name, and by --exclude-libs that nothing of it is for others.
KH_CFLAGS += -DKH_LIBRDKAFKA_INSIDE
KH_LIBS = $(addprefix -Wl$(comma)--wrap=,malloc calloc realloc free strdup strndup) \
	-Wl,--exclude-libs,ALL -Wl,--gc-sections -l:librdkafka.a \
	$(filter-out -lrdkafka,$(shell $(PKG_CONFIG) --static --libs rdkafka)) -pthread
# Some tests of the engine have functions of librdkafka's themselves.
TEST_LIBS = -Wl,--allow-multiple-definition
# A module that is loaded late may find no room for thread-local variables of the usual kind.
MIMALLOC_CFLAGS = -std=gnu11 -fPIC -fvisibility=hidden -ftls-model=local-dynamic -ffunction-sections \
	-isystem $(MIMALLOC)/include -isystem $(MIMALLOC)/src
ifdef SANITIZE
MIMALLOC_CFLAGS += -fsanitize=address -fno-omit-frame-pointer -DMI_TRACK_ASAN=1
endif
endif
LUA_CFLAGS = $(shell $(PKG_CONFIG) --cflags $(LUA))

ENGINE_SOURCES := $(sort $(wildcard src/engine/*.c))
BINDING_SOURCES := $(sort $(wildcard src/lua/*.c))
LUA_SOURCES := $(sort $(wildcard lua/kafka_history/*.lua lua/kafka_history/*/*.lua))
ENGINE_OBJECTS := $(ENGINE_SOURCES:src/engine/%.c=$(BASE)/engine/%.o)
ifeq ($(ALLOCATOR),mimalloc)
ENGINE_OBJECTS += $(BASE)/mimalloc.o
endif
BINDING_OBJECTS := $(BINDING_SOURCES:src/lua/%.c=$(BUILD)/lua/%.o)
# C hosts with Lua in them, one a Lua; the others need the engine alone.
LUA_EXAMPLES := $(addprefix $(BUILD)/examples/,host two_states)
EXAMPLES := $(LUA_EXAMPLES) $(patsubst examples/%.c,$(BASE)/examples/%,\
	$(filter-out examples/host.c examples/two_states.c,$(sort $(wildcard examples/*.c))))
ENGINE_TESTS := $(patsubst spec/engine/%.c,$(BASE)/spec/%,\
	$(sort $(wildcard spec/engine/*_test.c spec/engine/*_simulation.c spec/engine/*_exhaustive.c)))

.PHONY: all
all: $(BUILD)/kafka_history/core.so

$(BUILD)/kafka_history/core.so: $(ENGINE_OBJECTS) $(BINDING_OBJECTS)
	@mkdir -p $(@D)
	$(CC) -shared $(KH_CFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(KH_LIBS)

$(BASE)/engine/%.o: src/engine/%.c
	@mkdir -p $(@D)
	$(CC) $(KH_CFLAGS) $(CFLAGS) -c -o $@ $<

$(BASE)/mimalloc.o: src/fast/mimalloc.c $(MIMALLOC)/src/static.c
	@mkdir -p $(@D)
	$(CC) $(MIMALLOC_CFLAGS) $(CFLAGS) -c -o $@ $<

$(MIMALLOC)/src/static.c:
	@tools/mimalloc $(MIMALLOC)

$(BUILD)/lua/%.o: src/lua/%.c
	@mkdir -p $(@D)
	$(CC) $(KH_CFLAGS) $(LUA_CFLAGS) $(CFLAGS) -c -o $@ $<

# Tests of the engine, one program a file of its own name.
$(BASE)/spec/%: spec/engine/%.c $(ENGINE_OBJECTS)
	@mkdir -p $(@D)
	$(CC) $(KH_CFLAGS) -Isrc/engine $(CFLAGS) $(LDFLAGS) -o $@ $< $(ENGINE_OBJECTS) $(KH_LIBS) $(TEST_LIBS)

# This one includes catchup.c, to see inside.
$(BASE)/spec/catchup_exhaustive: spec/engine/catchup_exhaustive.c src/engine/catchup.c
	@mkdir -p $(@D)
	$(CC) $(KH_CFLAGS) -Isrc/engine $(CFLAGS) $(LDFLAGS) -o $@ $<

$(LUA_EXAMPLES): $(BUILD)/examples/%: examples/%.c
	@mkdir -p $(@D)
	$(CC) $(KH_CFLAGS) $(LUA_CFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $< \
		$(shell $(PKG_CONFIG) --libs $(LUA)) -lm -pthread

$(BASE)/examples/%: examples/%.c $(ENGINE_OBJECTS)
	@mkdir -p $(@D)
	$(CC) $(KH_CFLAGS) -Isrc/engine $(CFLAGS) $(LDFLAGS) -o $@ $< $(ENGINE_OBJECTS) $(KH_LIBS)

$(OUT)/kafka-admin: tools/kafka/admin.c
	@mkdir -p $(@D)
	$(CC) -std=c11 -D_POSIX_C_SOURCE=200809L $(WARNINGS) $(CFLAGS) -o $@ $< -lrdkafka

$(OUT)/proxy: tools/proxy.c
	@mkdir -p $(@D)
	$(CC) -std=c11 -D_POSIX_C_SOURCE=200809L $(WARNINGS) $(CFLAGS) -o $@ $<

# Takes itself out of the environment of a program that it is loaded into with LD_PRELOAD.
$(OUT)/preload_once.so: tools/preload_once.c
	@mkdir -p $(@D)
	$(CC) -std=c11 -D_POSIX_C_SOURCE=200809L -fPIC -shared $(WARNINGS) $(CFLAGS) -o $@ $<

# Everything that the tests of this configuration run.
.PHONY: examples engine-tests
examples: $(EXAMPLES)
engine-tests: $(ENGINE_TESTS)

# --- the two commands, and what continuous integration runs ---------------------------------------

# In a make of its own, so that what setup has just installed is there.
BUILD_ALL = $(MAKE) --no-print-directory -s -j$(shell nproc 2>/dev/null || echo 2)

.PHONY: demo
demo:
	@tools/setup build command $(filter luajit,$(LUA))
	@$(BUILD_ALL) all
	@eval "$$($(MAKE) -s --no-print-directory env)" && exec $(LUA) examples/demo.lua

# A host that cannot be had is named, and its tests are left out; not in continuous integration.
SETUP_HOSTS = @tools/setup hosts nginx || { echo 'test: goes without these hosts' >&2; [ -z "$$CI" ]; }

.PHONY: test
test:
	@tools/setup build command luajit spec doc
	$(SETUP_HOSTS)
	@tools/kafka/kafka install
	@$(BUILD_ALL) LUA=lua5.4 all examples engine-tests $(OUT)/kafka-admin
	@$(BUILD_ALL) LUA=luajit all examples
	@$(BUILD_ALL) WAKEUP_PIPE=1 engine-tests
	@tools/test

.PHONY: nginx
nginx:
	@tools/setup build luajit spec nginx
	@tools/kafka/kafka install
	@$(BUILD_ALL) LUA=luajit all $(OUT)/kafka-admin
	@KH_TEST_LIMIT_S=900 tools/test --nginx

.PHONY: faults
faults:
	@tools/setup build luajit spec
	@tools/kafka/kafka install
	@$(BUILD_ALL) LUA=lua5.4 all $(OUT)/kafka-admin $(OUT)/proxy
	@$(BUILD_ALL) LUA=luajit all
	@$(BUILD_ALL) LUA=lua5.4 SANITIZE=1 all $(OUT)/preload_once.so
	@tools/test --faults

# A run with the seed that a failed one has printed repeats its faults.
KH_CHAOS_SECONDS ?= 180
.PHONY: chaos
chaos:
	@tools/setup build spec
	@tools/kafka/kafka install
	@$(BUILD_ALL) LUA=lua5.4 all $(OUT)/kafka-admin $(OUT)/proxy
	@KH_CHAOS_SECONDS=$(KH_CHAOS_SECONDS) KH_TEST_LIMIT_S=$$(($(KH_CHAOS_SECONDS) + 400)) \
		tools/test --chaos

KH_CHURN_SECONDS ?= 120
.PHONY: churn
churn:
	@tools/setup build spec $(if $(LIBRDKAFKA),pip)
	@tools/kafka/kafka install
	@$(BUILD_ALL) LUA=lua5.4 all $(OUT)/kafka-admin
	@KH_CHURN_SECONDS=$(KH_CHURN_SECONDS) KH_TEST_LIMIT_S=$$(($(KH_CHURN_SECONDS) + 300)) \
		tools/test --churn $(LIBRDKAFKA)

.PHONY: matrix
matrix:
	@tools/setup build command spec pip
	@tools/kafka/kafka install
	@$(BUILD_ALL) LUA=lua5.4 all examples engine-tests $(OUT)/kafka-admin
	@KH_TEST_LIMIT_S=600 tools/test --librdkafka $(or $(LIBRDKAFKA),$(LIBRDKAFKA_MATRIX))

.PHONY: sanitize
sanitize:
	@tools/setup build command spec
	$(SETUP_HOSTS)
	@$(BUILD_ALL) LUA=lua5.4 SANITIZE=1 all examples engine-tests $(OUT)/preload_once.so
	@tools/test --sanitize

.PHONY: test-fast
test-fast:
	@tools/setup build command luajit spec fast
	$(SETUP_HOSTS)
	@tools/kafka/kafka install
	@$(BUILD_ALL) LUA=lua5.4 $(OUT)/kafka-admin $(OUT)/preload_once.so
	@$(BUILD_ALL) ALLOCATOR=mimalloc LUA=lua5.4 all examples engine-tests
	@$(BUILD_ALL) ALLOCATOR=mimalloc LUA=luajit all examples
	@$(BUILD_ALL) ALLOCATOR=mimalloc LUA=lua5.4 SANITIZE=1 all examples
	@tools/test --fast

.PHONY: valgrind
valgrind:
	@tools/setup build spec valgrind
	@$(BUILD_ALL) LUA=lua5.4 all engine-tests
	@tools/test --valgrind

# --- benchmarks ------------------------------------------------------------------------------------

BENCH_PROGRAMS = $(addprefix $(OUT)/bench/,c_loop meter ticker)

$(OUT)/bench/meter: bench/meter.c
	@mkdir -p $(@D)
	$(CC) -std=c11 $(WARNINGS) $(CFLAGS) -o $@ $<

# With the engine's table, to be filled without the engine.
$(OUT)/bench/c_loop: bench/c_loop.c $(addprefix $(OUT)/engine/,keys.o record.o headers.o)
	@mkdir -p $(@D)
	$(CC) -std=c11 $(WARNINGS) -Isrc/engine $(CFLAGS) -o $@ $^ -lrdkafka

$(OUT)/bench/%: bench/%.c
	@mkdir -p $(@D)
	$(CC) -std=c11 $(WARNINGS) $(CFLAGS) -o $@ $< -lrdkafka

# Go's client, to compare with; where Go is missing or too old the tables go without.
$(OUT)/bench/go_loop: bench/go_loop/main.go bench/go_loop/go.mod bench/go_loop/go.sum
	@mkdir -p $(@D)
	@cd $(<D) && go build -o $(abspath $@) . || echo 'bench: goes without franz-go' >&2

# Python's client, to compare with; where it cannot be fetched the tables go without.
$(OUT)/bench/python:
	@python3 -m venv $@ && $@/bin/pip install --quiet --disable-pip-version-check \
		--only-binary=:all: confluent-kafka==2.16.0 || \
		{ echo 'bench: goes without confluent-kafka for Python' >&2; rm -rf $@; }

# The binding with the other form that a message could have.
TABLE_OBJECTS = $(ENGINE_OBJECTS) $(filter-out %/consumer.o,$(BINDING_OBJECTS))
$(BUILD)/bench/table/kafka_history/core.so: bench/table_form.c $(TABLE_OBJECTS) src/lua/consumer.c
	@mkdir -p $(@D)
	$(CC) -shared $(KH_CFLAGS) $(LUA_CFLAGS) $(CFLAGS) -o $@ $< $(TABLE_OBJECTS) $(KH_LIBS)

.PHONY: bench-programs
bench-programs: all $(BENCH_PROGRAMS) $(BUILD)/bench/table/kafka_history/core.so

# The plots of doc/ are those of a complete run.
WHAT ?= all
.PHONY: bench
bench: export PLOTS := $(if $(QUICK)$(LIBRDKAFKA)$(ONLY)$(filter-out all,$(WHAT)),$(PLOTS),doc/bench)
bench:
	@tools/setup build luajit
	@tools/setup bench hosts nginx || echo 'bench: goes without what is missing' >&2
	@$(if $(QUICK)$(KAFKA_HISTORY_BROKER),,tools/kafka/kafka install)
	@$(BUILD_ALL) LUA=lua5.4 bench-programs $(OUT)/bench/python $(OUT)/bench/go_loop $(OUT)/kafka-admin
	@$(BUILD_ALL) LUA=luajit bench-programs
	@{ tools/setup fast && $(BUILD_ALL) ALLOCATOR=mimalloc LUA=lua5.4 all && \
		$(BUILD_ALL) ALLOCATOR=mimalloc LUA=luajit all; } || echo 'bench: goes without the fast build' >&2
	@QUICK=$(QUICK) LIBRDKAFKA=$(LIBRDKAFKA) bench/run $(WHAT)

SECONDS ?= 1200
MESSAGES ?= 0
FORM ?= both

.PHONY: soak
soak:
	@tools/setup build $(filter luajit,$(LUA))
	@tools/kafka/kafka install
	@$(BUILD_ALL) all $(OUT)/kafka-admin
	@LUA=$(LUA) bench/soak $(SECONDS) $(MESSAGES) $(FORM)

# --- style ----------------------------------------------------------------------------------------

C_FILES = $(sort $(wildcard $(addsuffix /*.[ch],src/engine src/lua src/fast spec/engine spec/fuzz spec/host examples bench tools tools/kafka)))

.PHONY: lint
lint:
	@tools/setup lint
	$(LUACHECK) -q lua spec examples bench rockspec tools/reference tools/doc
	$(CLANG_FORMAT) --dry-run --Werror $(C_FILES)

.PHONY: format
format:
	@tools/setup lint
	$(CLANG_FORMAT) -i $(C_FILES)

# --- the manual -----------------------------------------------------------------------------------

.PHONY: reference
reference:
	@lua5.4 tools/reference

.PHONY: doc
doc: reference
	@tools/setup doc
	@tools/doc $(OUT)/doc

# --- installation ---------------------------------------------------------------------------------

# The interpreters that the command looks for.
COMMAND_LUAS = $(if $(filter luajit,$(LUA)),luajit lua5.4,lua5.4 luajit)

# What a rock has: the modules, without the command.
.PHONY: install install-modules
install-modules: all
	install -d "$(DESTDIR)$(INST_LIBDIR)/kafka_history" "$(DESTDIR)$(INST_LUADIR)/kafka_history"
	install -m 755 $(BUILD)/kafka_history/core.so "$(DESTDIR)$(INST_LIBDIR)/kafka_history/core.so"
	cd lua && for file in $(LUA_SOURCES:lua/%=%); do \
		install -D -m 644 $$file "$(DESTDIR)$(INST_LUADIR)/$$file" || exit; done

install: install-modules
	install -d "$(DESTDIR)$(PREFIX)/bin"
	sed '/^for lua in/s/lua5.4 luajit/$(COMMAND_LUAS)/' bin/kafka-history >"$(DESTDIR)$(PREFIX)/bin/kafka-history"
	chmod 755 "$(DESTDIR)$(PREFIX)/bin/kafka-history"
	install -D -m 644 doc/kafka-history.1 "$(DESTDIR)$(PREFIX)/share/man/man1/kafka-history.1"
	install -D -m 644 completion/kafka-history.bash \
		"$(DESTDIR)$(PREFIX)/share/bash-completion/completions/kafka-history"
	install -D -m 644 completion/_kafka-history "$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_kafka-history"
	install -D -m 644 completion/kafka-history.fish \
		"$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/kafka-history.fish"

# What shells complete, made from the command's own options.
.PHONY: completion
completion:
	bin/kafka-history --completion bash >completion/kafka-history.bash
	bin/kafka-history --completion zsh >completion/_kafka-history
	bin/kafka-history --completion fish >completion/kafka-history.fish

.PHONY: env
env:
	@echo 'export LUA_PATH="$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;$${LUA_PATH:-;}"'
	@echo 'export LUA_CPATH="$(CURDIR)/$(BUILD)/?.so;$${LUA_CPATH:-;}"'
	@echo 'export PATH="$(CURDIR)/bin:$$PATH"'
	@echo 'unset LUA_PATH_5_4 LUA_CPATH_5_4'

# What the rock must list, a file a line.
.PHONY: print-sources
print-sources:
	@printf '%s\n' $(ENGINE_SOURCES) $(BINDING_SOURCES) $(LUA_SOURCES)

.PHONY: help
help:
	@sed -n '/^$$/q; 3,$$s/^# \{0,1\}//p' $(firstword $(MAKEFILE_LIST))

.PHONY: clean
clean:
	rm -rf $(OUT)

-include $(wildcard $(BASE)/engine/*.d $(BUILD)/lua/*.d $(BASE)/spec/*.d $(BASE)/examples/*.d)
