---@meta kafka_history.resty

--- [kafka_history](kafka_history.md) for OpenResty, and nginx with its Lua module: the same functions and the same consumers,
--- but waiting yields to nginx, so that a worker answers requests beside the reader. Handlers may use cosockets and `ngx.sleep`.
---
--- [The host's page](../hosts/openresty.md) has examples, and says which phases can wait.

---@class kafka_history.resty: kafka_history
--- [Views](view.md) that wait in this loop: `view.new(config)`.
---@field view kafka_history.view
local history = {}

--- As `kafka_history.new`, to be called in `init_worker_by_lua`; in `init_by_lua` it raises. With `worker` the other workers
--- get a stand-in for the consumer, which has `caught_up()` (with `wait`, `state`, `is_ready`) and `progress()` (with `state`,
--- `messages`, `offsets_done`, `offsets_total`, `fraction`); its `read_history`, `messages` and `step` return nil, a message and
--- `ELSEWHERE`.
---@param config kafka_history.resty.config
---@return kafka_history.consumer? consumer
---@return string? err
---@return string? code
function history.new(config) end

--- What `new` takes beside the keys of [every consumer](../configuration.md).
---@class kafka_history.resty.config: kafka_history.config
--- Default: none, each worker reads. The number of the only worker that reads, from 0.
---@field worker? integer
--- Default: `"kafka_history"`. With `worker`: the `lua_shared_dict` through which it tells the others.
---@field shared? string

return history
