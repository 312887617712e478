-- The README and the manual as HTML: every page is made, and every link leads somewhere.
local child = require "support.child"
local watchdog = require "support.watchdog"

-- Makes HTML of what is in a directory; its exit status, and what was said.
local function make(directory, target)
  local command = 'tool=$PWD/tools/doc; cd %s && { lua5.4 "$tool" %s 2>&1; echo "=$?"; }'
  local said = child.output(command:format(directory, target))
  local text, status = said:match "^(.*)=(%d+)\n$"
  return tonumber(status), text
end

local function read_file(name)
  local file = io.open(name)
  local text = file and file:read "a"
  if file then file:close() end
  return text
end

describe("the manual as HTML", function()
  local directory

  setup(function()
    directory = child.output "mktemp -d":match "%S+"
  end)

  teardown(function()
    os.execute("rm -rf " .. directory)
  end)

  before_each(watchdog.start)
  after_each(watchdog.stop)

  it("has no link to a page or a heading that is not there", function()
    local status, said = make(".", directory .. "/html")
    assert.equal("", said)
    assert.equal(0, status)
  end)

  it("has a page for each Markdown file, whose links are to pages", function()
    local list = assert(io.popen "ls *.md; find doc examples -name '*.md'")
    for name in list:lines() do
      local html = name:gsub("README%.md$", "index.md"):gsub("%.md$", ".html")
      local text = assert(read_file(directory .. "/html/" .. html), html)
      assert.is_nil(text:match '<a href="[^":]+%.md[#"]', html)
    end
    list:close()
    assert.is_truthy(read_file(directory .. "/html/doc/caught-up.html"):find('<h1 id="caught-up">', 1, true))
  end)

  it("leads to every page from the index", function()
    local index = read_file "doc/README.md"
    local list = assert(io.popen "cd doc && find . -name '*.md' | cut -c 3-")
    for name in list:lines() do
      assert.is_truthy(name == "README.md" or index:find("](" .. name .. ")", 1, true), name)
    end
    list:close()
  end)

  it("fails for a page, a heading and a picture that are not there, and names them", function()
    local copy = directory .. "/copy"
    os.execute(("mkdir -p %s/doc %s/examples"):format(copy, copy))
    local file = assert(io.open(copy .. "/README.md", "w"))
    file:write "# One\n\n[a](doc/none.md) [b](#two) [c](#one) [d](doc/page.md#part) ![e](doc/none.svg)\n"
    file:close()
    file = assert(io.open(copy .. "/doc/page.md", "w"))
    file:write "# Page\n\n## Part\n\n[f](../README.md#one) [g](https://example.com/x.md)\n"
    file:close()
    local status, said = make(copy, directory .. "/out")
    assert.equal(1, status)
    assert.equal("doc: links that lead nowhere:\n  README.md: doc/none.md\n  README.md: #two\n"
      .. "  README.md: doc/none.svg\n", said)
  end)
end)
