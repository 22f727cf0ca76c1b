"""Writes the seed corpora from the vectors and the samples.

Run: python3 fuzz/seeds.py
"""

import hashlib
import json
import pathlib
import random
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent
SEEDS = ROOT / "fuzz" / "seeds"


def write(target, data):
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def header_of(vector):
    if "headers_hex" in vector:
        return [bytes.fromhex(header) for header in vector["headers_hex"]]
    return [header.encode() for header in vector["headers"]]


vectors = json.loads((ROOT / "tests/vectors/signature.json").read_text())["vectors"]
for vector in vectors:
    for header in header_of(vector):
        write("header", header)

# The event types that the library knows, from its own list.
source = (ROOT / "src/event/event_type.rs").read_text()
known = re.findall(r'^        "([a-z_]+)\.([a-z]+)",$', source, re.M)
assert len(known) == 25, known
for path in sorted((ROOT / "src/samples").glob("*.json")):
    data = json.loads(path.read_text())
    for action in [action for resource, action in known if resource == path.stem]:
        event = {
            "id": "0198c7a2-4a54-7c1e-9d5f-2f1c1a3b4d5e",
            "event_type": f"{path.stem}.{action}",
            "workspace_id": "6f1c",
            "created_at": "2026-04-15T09:30:00Z",
            "actor": {"type": "robot"},
            "data": data,
        }
        write("event", json.dumps(event).encode())
for text in [
    "", "{}", "[]", "null", '{"event_type":7}', '{"event_type":""}', '{"type":"a.b"}',
    '{"event_type":"a.b"} x', '{"event_type":"a.b","event_type":"c.d"}',
    '{"event_type":"a.b","\\ud800":1}', '{"event_type":"a.b","id":"\\ud800"}',
    '{"\\u0065vent_type":"a\\u002eb"}', '{"event_type":"a.b","x":1e400}',
    '{"event_type":"a.b","payload":[1],"resource":{"c":1},"occurred_at":"2026-04-15T09:30:00Z"}',
    '{"event_type":"instrument.created","data":{"extra_fields_snapshot":{"a b":7}}}',
    '{"event_type":"webhook.created","data":' + "[" * 300 + "]" * 300 + "}",
    "\ufeff" + '{"event_type":"a.b"}',
]:
    write("event", text.encode())
write("event", b'{"event_type":"a.b","x":"\xff"}')

# `verify` and `streaming` read choices; any bytes will do.
source = random.Random(2026)
for length in [0, 1, 8, 40, 100, 100, 200, 200, 400, 400, 400]:
    for target in ["verify", "streaming"]:
        write(target, source.randbytes(length))
