-- The ten headers that a browser sends with every request.
dofile(os.getenv("WRK_SCRIPTS") .. "/report.lua")
wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
wrk.headers["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
wrk.headers["Accept-Language"] = "en-GB,en;q=0.9,de;q=0.8"
wrk.headers["Accept-Encoding"] = "gzip, deflate, br, zstd"
wrk.headers["Connection"] = "keep-alive"
wrk.headers["Referer"] = "http://127.0.0.1/somewhere/else?and=more"
wrk.headers["Cookie"] = "session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes"
wrk.headers["Sec-Fetch-Mode"] = "navigate"
wrk.headers["Upgrade-Insecure-Requests"] = "1"
