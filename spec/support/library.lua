-- Which librdkafka the specs run with, where one differs truly from another.

local history = require "kafka_history"

local library = {}

local function number(major, minor, patch)
  return (tonumber(major) * 1000 + tonumber(minor)) * 1000 + tonumber(patch)
end

-- Is it this version, or a newer one?
function library.is_at_least(major, minor, patch)
  return number(history.librdkafka_version():match "^(%d+)%.(%d+)%.(%d+)") >= number(major, minor, patch)
end

-- For a shell, before kcat and kafka-admin: where the module is tried with another librdkafka, they go on
-- with the system's. What they do and show is not in question.
library.outside = os.getenv "KH_LIBRDKAFKA" and "unset LD_LIBRARY_PATH; " or ""

return library
