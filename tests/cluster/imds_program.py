"""A small EC2 instance metadata service, version 2: `python imds_program.py PORT NOTICE`. There is a spot interruption
notice as soon as the file NOTICE exists, and it holds what is answered. Forgets its token once, as a service that was
restarted would."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

port, notice = int(sys.argv[1]), Path(sys.argv[2])
tokens: list[str] = []


class Handler(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        lives = int(self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", 0))
        if self.path != "/latest/api/token" or not 0 < lives <= 21600:
            return self.answer(400)
        tokens.append(f"token-{len(tokens)}")
        return self.answer(200, tokens[-1].encode())

    def do_GET(self) -> None:
        token = self.headers.get("X-aws-ec2-metadata-token", "")
        if token != "token-1":  # the first is forgotten at once
            return self.answer(401)
        if self.path != "/latest/meta-data/spot/instance-action" or not notice.exists():
            return self.answer(404)
        return self.answer(200, notice.read_bytes())

    def answer(self, code: int, data: bytes = b"") -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words) -> None:
        pass


ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
