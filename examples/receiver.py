#!/usr/bin/env python3
"""Is called back by Tasks: checks the signature of each event and says what it tells.

    python3 examples/receiver.py [PORT] [KEY]
"""

import base64, hashlib, hmac, http.server, json, sys, time

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
# The key of examples/callback-key.yaml.
KEY = sys.argv[2] if len(sys.argv) > 2 else "whsec_ZXhhbXBsZS1rZXktZm9yLWNhbGxiYWNrcy1vbmx5"


def verified(headers, body):
    stamp = headers.get("webhook-timestamp", "0")
    # A signature of long ago may be replayed by whoever saw it.
    if abs(time.time() - int(stamp)) > 300:
        return False
    key = base64.b64decode(KEY.removeprefix("whsec_"))
    signed = f"{headers.get('webhook-id')}.{stamp}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    given = headers.get("webhook-signature", "").split(" ")
    return any(hmac.compare_digest(expected, one) for one in given)


class Receiver(http.server.BaseHTTPRequestHandler):
    heard = set()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if not verified(self.headers, body):
            return self.reply(401)
        # The same event may come again; its id says so.
        if self.headers["webhook-id"] not in self.heard:
            self.heard.add(self.headers["webhook-id"])
            task = json.loads(body)["data"]
            print(task["namespace"], task["name"], task["phase"], task["reason"], flush=True)
        self.reply(204)

    def reply(self, status):
        self.send_response(status)
        self.end_headers()

    def log_message(self, *args):
        pass


print(f"waits on port {PORT}", flush=True)
http.server.HTTPServer(("127.0.0.1", PORT), Receiver).serve_forever()
