-- Sixteen requests at once on each connection.
dofile(os.getenv("WRK_SCRIPTS") .. "/report.lua")
local batch
function init(args)
  local one = wrk.format()
  batch = string.rep(one, 16)
end
function request()
  return batch
end
