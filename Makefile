# kafka-history: build, test, install. `make demo` and `make test` set up what they need themselves.
#
#   make                 the module for Lua 5.4, in build/kafka_history/core.so
#   make LUA=luajit      the same for LuaJIT, beside it in build/luajit/
#   make SANITIZE=1      with AddressSanitizer and UBSan, beside it in build/sanitize/

LUA ?= lua5.4
CC ?= cc
PKG_CONFIG ?= pkg-config
PREFIX ?= /usr/local

OUT = build
LUA_VERSION = 5.4
ifeq ($(LUA),luajit)
LUA_VERSION = 5.1
endif

BASE := $(OUT)
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
LUA_CFLAGS = $(shell $(PKG_CONFIG) --cflags $(LUA))

ENGINE_SOURCES := $(sort $(wildcard src/engine/*.c))
BINDING_SOURCES := $(sort $(wildcard src/lua/*.c))
LUA_SOURCES := $(sort $(wildcard lua/kafka_history/*.lua))
ENGINE_OBJECTS := $(ENGINE_SOURCES:src/engine/%.c=$(BASE)/engine/%.o)
BINDING_OBJECTS := $(BINDING_SOURCES:src/lua/%.c=$(BUILD)/lua/%.o)

.PHONY: all
all: $(BUILD)/kafka_history/core.so

$(BUILD)/kafka_history/core.so: $(ENGINE_OBJECTS) $(BINDING_OBJECTS)
	@mkdir -p $(@D)
	$(CC) -shared $(KH_CFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(KH_LIBS)

$(BASE)/engine/%.o: src/engine/%.c
	@mkdir -p $(@D)
	$(CC) $(KH_CFLAGS) $(CFLAGS) -c -o $@ $<

$(BUILD)/lua/%.o: src/lua/%.c
	@mkdir -p $(@D)
	$(CC) $(KH_CFLAGS) $(LUA_CFLAGS) $(CFLAGS) -c -o $@ $<

# Tests of the engine, one program a file of its own name.
$(BASE)/spec/%: spec/engine/%.c $(ENGINE_OBJECTS)
	@mkdir -p $(@D)
	$(CC) $(KH_CFLAGS) -Isrc/engine $(CFLAGS) $(LDFLAGS) -o $@ $< $(ENGINE_OBJECTS) $(KH_LIBS)

$(OUT)/kafka-admin: tools/kafka/admin.c
	@mkdir -p $(@D)
	$(CC) -std=c11 -D_POSIX_C_SOURCE=200809L $(WARNINGS) $(CFLAGS) -o $@ $< -lrdkafka

.PHONY: clean
clean:
	rm -rf $(OUT)

-include $(wildcard $(BASE)/engine/*.d $(BUILD)/lua/*.d $(BASE)/spec/*.d)
