import json
import os


def app(environ, start_response):
    def answer(status, kind, pieces):
        start_response(status, [("Content-Type", kind)])
        return pieces

    match environ["REQUEST_METHOD"], environ["PATH_INFO"]:
        case "GET" | "HEAD", "/who":
            found = {
                "pid": os.getpid(),
                "scheme": environ["wsgi.url_scheme"],
                "client": bool(environ.get("REMOTE_ADDR")),
            }
            return answer("200 OK", "application/json", [json.dumps(found).encode()])
        case "POST", "/echo":
            return answer("200 OK", "application/octet-stream", [environ["wsgi.input"].read()])
        case "GET", "/stream":
            return answer("200 OK", "text/plain", (f"{number}\n".encode() for number in range(5)))
        case "GET", "/raise":
            raise RuntimeError("asked for")
    return answer("404 Not Found", "text/plain", [b"Not Found"])
