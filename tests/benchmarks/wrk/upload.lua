-- A body of as many octets as the first argument says.
dofile(os.getenv("WRK_SCRIPTS") .. "/report.lua")
local upload
function init(args)
  upload = wrk.format("POST", nil, nil, string.rep("x", tonumber(args[1])))
end
function request()
  return upload
end
