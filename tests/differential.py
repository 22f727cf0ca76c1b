"""The check that Ptolemy's guide documents, for a differential test.

Reads one request a line from standard input, as JSON with the fields `secret`, `header`, `body`
(both in hex) and `now`, and answers each with a line `accept` or `reject`.
"""

import hashlib
import hmac
import json
import sys


def check(secret, header, body, now):
    parts = [part.split("=", 1) for part in header.split(",") if "=" in part]
    fields = {key: value for key, value in parts}
    t, v1 = fields.get("t"), fields.get("v1")
    if t is None or v1 is None:
        return False
    try:
        if abs(now - int(t)) > 300:
            return False
    except ValueError:
        return False
    expected = hmac.new(secret.encode(), t.encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), v1.encode())


for line in sys.stdin:
    request = json.loads(line)
    accepted = check(
        request["secret"],
        bytes.fromhex(request["header"]).decode("latin-1"),
        bytes.fromhex(request["body"]),
        request["now"],
    )
    print("accept" if accepted else "reject")
