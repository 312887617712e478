-- The command of a checkout takes the fast build where there is one.
local child = require "support.child"

describe("the command of a checkout", function()
  local directory
  local built = rawget(_G, "jit") and "/luajit/kafka_history" or "/kafka_history"
  local core = (package.cpath:match "[^;]*build/[^;]*" or ""):gsub("?", "kafka_history/core")

  -- Two builds, which are told from each other by their places.
  setup(function()
    directory = child.output "mktemp -d":match "%S+"
    os.execute(([[
      top=$PWD && cd %s && mkdir -p bin build%s build/mimalloc%s && ln -s "$top/lua" lua &&
        cp "$top/bin/kafka-history" bin/ && cp '%s' build%s/ && cp '%s' build/mimalloc%s/ &&
        echo '{"value":"x"}' >one.jsonl
    ]]):format(directory, built, built, core, built, core, built))
  end)
  teardown(function() os.execute("rm -rf " .. directory) end)

  -- With builds of these days: the one that the command has loaded.
  local function loaded(plain, fast)
    return child.output(([[
      cd %s && touch -d '2020-01-%02d' build%s/core.so && touch -d '2020-01-%02d' build/mimalloc%s/core.so
      env -u LUA_PATH -u LUA_CPATH KAFKA_HISTORY_LUA="$KH_LUA" bin/kafka-history --embedded one.jsonl \
        --until caught-up --progress never -e '
          for line in io.lines "/proc/self/maps" do
            local name = line:match "build/.*core%%.so"
            if name then print(name) break end
          end' 2>&1
    ]]):format(directory, plain, built, fast, built))
  end

  it("takes the fast build", function()
    assert.equal("build/mimalloc" .. built .. "/core.so\n", loaded(2, 3))
    assert.equal("build/mimalloc" .. built .. "/core.so\n", loaded(2, 2))
  end)

  it("takes the other one where that is newer", function()
    assert.equal("build" .. built .. "/core.so\n", loaded(3, 2))
  end)
end)
