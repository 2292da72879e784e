-- A new connection for every request.
dofile(os.getenv("WRK_SCRIPTS") .. "/report.lua")
wrk.headers["Connection"] = "close"
