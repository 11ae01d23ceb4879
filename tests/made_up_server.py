"""A web server on this machine that behaves as badly as it is told, and remembers all requests.

The path of a request names the behaviour; see ``BEHAVIOURS``.
"""

import contextlib
import http.server
import threading
import time
from collections import Counter

CONTENT = bytes(range(256)) * 400  # 102,400 bytes
CUT = 40_000


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        how = self.path.split("/")[1]
        self.server.asked.append((self.path, self.headers.get("Range")))
        self.server.times[how] += 1
        self.close_connection = True
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has had enough
            BEHAVIOURS[how](self)

    def answer(self, status, body=b"", length=None, **headers):
        self.server.statuses.append(status)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def with_ranges(self, content=CONTENT, etag='"v1"', first=None):
        """As a good server does; after the ``first`` bytes the line is cut."""
        start = 0
        if self.headers.get("Range") and self.headers.get("If-Range", etag) == etag:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        if start > len(content):
            return self.answer(416)
        body, headers = content[start:], {"ETag": etag}
        if start:
            headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.answer(206 if start else 200, body[:first], length=len(body), **headers)

    def pieces(self, every_s, how_many, length=None):
        self.send_response(200)
        if length:
            self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        self.end_headers()
        for _ in range(how_many):
            self.wfile.write(b"x" * 1000)
            self.wfile.flush()
            time.sleep(every_s)


def cut_once(handler):
    handler.with_ranges(first=CUT if handler.server.times["cut"] == 1 else None)


def changed(handler):
    """Cut at the first time; at the second the file is another one."""
    first = handler.server.times["changed"] == 1
    content, etag = (CONTENT, '"v1"') if first else (CONTENT[::-1], '"v2"')
    handler.with_ranges(content, etag, CUT if first else None)


def ignores_ranges(handler):
    whole = handler.server.times["ignores"] > 1
    handler.answer(200, CONTENT if whole else CONTENT[:CUT], length=len(CONTENT), ETag='"v1"')


def busy_twice(handler):
    if handler.server.times["busy"] <= 2:
        return handler.answer(503)
    return handler.with_ranges()


def other_part(handler):
    """Answers a range, but not the one that was asked for."""
    if handler.headers.get("Range"):
        return handler.answer(206, CONTENT[:10], Content_Range="bytes 0-9/102400", ETag='"v1"')
    return handler.with_ranges(first=CUT if handler.server.times["other"] == 1 else None)


BEHAVIOURS = {
    "good": Handler.with_ranges,
    "cut": cut_once,
    "ignores": ignores_ranges,
    "changed": changed,
    "other": other_part,
    "busy": busy_twice,
    "down": lambda h: h.answer(500),
    "short": lambda h: h.answer(200, CONTENT[:CUT], length=len(CONTENT)),
    "404": lambda h: h.answer(404),
    "403": lambda h: h.answer(403),
    "page": lambda h: h.answer(200, b"<html>log in</html>", Content_Type="text/html"),
    "moved": lambda h: h.answer(302, Location="/good/a.bin"),
    "loop": lambda h: h.answer(302, Location="/loop/a.bin"),
    "to-file": lambda h: h.answer(302, Location="file:///etc/passwd"),
    "endless": lambda h: h.pieces(0, 10_000),
    "stalls": lambda h: h.pieces(2, 2, length=len(CONTENT)),
    "trickles": lambda h: h.pieces(0.1, 50, length=len(CONTENT)),
}


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, handler=Handler):
        super().__init__(("127.0.0.1", 0), handler)
        self.asked, self.statuses, self.times = [], [], Counter()
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()
