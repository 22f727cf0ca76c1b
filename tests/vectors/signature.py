"""Writes signature.json, the vectors of the signature check.

The tags are computed here, with Python's own hmac, and not by the library under test.
Run: python3 tests/vectors/signature.py > tests/vectors/signature.json
"""

import hashlib
import hmac
import json

DOCS = "Ptolemy, guide 'Receiving Webhook Events' (read 2026-11)"
ASSUMED = "assumed where Ptolemy's documentation is silent"
GUIDE_SECRET = "whsec_a3f9b2c1d4e5f6a7b8c9d0e1"
SECRET = "whsec_test_secret"
OTHER = "whsec_another_secret"
NOW = 1_700_000_000
BODY = '{"id":"evt_test_webhook","object":"event"}'

vectors = []


def tag(t, body=BODY, secret=SECRET):
    body = body if isinstance(body, bytes) else body.encode()
    return hmac.new(secret.encode(), f"{t}.".encode() + body, hashlib.sha256).hexdigest()


def add(name, expect, header, *, body=BODY, secrets=(SECRET,), now=NOW, tolerance=300,
        source=DOCS, reason, index=0):
    headers = [header] if isinstance(header, (str, bytes)) else header
    vector = {"name": name, "expect": expect}
    if expect == "accept":
        vector["secret_index"] = index
    vector["now"] = now
    vector["tolerance"] = tolerance
    vector["secrets"] = list(secrets)
    if any(isinstance(header, bytes) for header in headers):
        vector["headers_hex"] = [
            (header if isinstance(header, bytes) else header.encode()).hex() for header in headers
        ]
    else:
        vector["headers"] = headers
    if isinstance(body, bytes):
        vector["body_hex"] = body.hex()
    else:
        vector["body"] = body
    vector["reason"] = reason
    vector["source"] = source
    vectors.append(vector)


def good(t=NOW, **kw):
    return f"t={t},v1={tag(t, **kw)}"


# The published examples; the tags are as published, not computed here.
CONTRACT = "published example of the wire contract"
add("contract 1", "accept",
    "t=1776243600,v1=dc2115f6520b291ddf3ee2f6165c1a83545e4bbb8e4df9bd50282a0e7763ed95",
    body='{"event_type":"instrument.created"}', secrets=[GUIDE_SECRET], now=1776243600,
    source=CONTRACT, reason="the whole secret is the key, its prefix included")
add("contract 2", "accept",
    "t=1700000000,v1=316b9ab98c15bfa039d243f3196acee619cf29749a91a634e6a8154e2f7b6727",
    body="", source=CONTRACT, reason="an empty body is signed too")
add("contract 3", "accept",
    "t=1700000000,v1=30d79a01345bc49a3460f5c4c0323dd4a6f8efd5828440954d17fda456e43da5",
    body="héllo, 🦀 world!", source=CONTRACT, reason="the body is bytes, here UTF-8")
add("contract 4", "accept",
    "t=1700000000,v1=d95c6b7477fbd7e9f90b1b0ef5f9c7ac25abca5382460e0d988c2b2a5b71b990",
    source=CONTRACT, reason="a plain delivery")

# Clock.
for age, expect in [(0, "accept"), (299, "accept"), (300, "accept"), (301, "too_old"),
                    (-300, "accept"), (-301, "too_far_ahead")]:
    add(f"{abs(age)} s {'ahead' if age < 0 else 'old'}", expect, good(NOW - age),
        reason="up to 300 s in both directions pass, the bound included")
add("tolerance zero, same second", "accept", good(), tolerance=0, source=ASSUMED,
    reason="the bound itself passes")
add("tolerance zero, one second old", "too_old", good(NOW - 1), tolerance=0, source=ASSUMED,
    reason="beyond the tolerance")
add("t is 1970", "too_old", good(0), reason="long past")
add("t is 1970, unlimited tolerance", "accept", good(0), tolerance=2**64 - 1, source=ASSUMED,
    reason="whoever sets such a tolerance wants it")
add("host clock before 1970", "accept", good(0), now=-200, source=ASSUMED,
    reason="an ordinary time, 200 s before t")
add("host clock long before 1970", "too_far_ahead", good(), now=-NOW, source=ASSUMED,
    reason="an ordinary time, long before t")
add("year 2039", "accept", good(2_180_000_000), now=2_180_000_100, source=ASSUMED,
    reason="seconds do not end in 2038")
add("last second of 9999", "accept", good(253402300799), now=253402300799, source=ASSUMED,
    reason="the last second that is a time")
add("first second of 10000", "too_far_ahead", good(253402300800), now=253402300799, source=ASSUMED,
    tolerance=2**64 - 1, reason="after 9999, too far ahead whatever the tolerance")
add("t is i64::MAX", "too_far_ahead", good(2**63 - 1), tolerance=2**64 - 1, source=ASSUMED,
    reason="after 9999")
add("t is i64::MAX + 1", "too_far_ahead", good(2**63), tolerance=2**64 - 1, source=ASSUMED,
    reason="after 9999; must not wrap to the past")
add("t is u64::MAX", "too_far_ahead", good(2**64 - 1), tolerance=2**64 - 1, source=ASSUMED,
    reason="after 9999; must not wrap to -1")
add("t is u64::MAX + 1", "malformed", good(2**64), source=ASSUMED, reason="beyond 64 bits")
add("t has 40 digits", "malformed", good(int("9" * 40)), source=ASSUMED, reason="beyond 64 bits")
add("t in milliseconds", "too_far_ahead", good(NOW * 1000), source=DOCS,
    reason="t counts seconds")
for text, why in [("", "empty"), ("-1", "a sign"), ("+1700000000", "a sign"),
                  ("1700000000.0", "a fraction"), ("1e9", "an exponent"), ("0x10", "hexadecimal"),
                  ("1_700_000_000", "underscores"), (" 1700000000", "a space inside"),
                  ("1700000000 0", "a space inside"),
                  ("１７０００００００００", "full-width digits"),
                  ("١٧٠٠٠٠٠٠٠٠", "Arabic digits")]:
    add(f"t is {text!r}", "malformed", good(text), source=ASSUMED,
        reason=f"t is ASCII digits alone, not {why}")
zeros = "0" * 30 + str(NOW)
add("t has leading zeros", "accept", good(zeros), source=ASSUMED,
    reason="the MAC covers the text of t as sent")
add("t has leading zeros that were not signed", "mismatch", f"t={zeros},v1={tag(NOW)}",
    source=ASSUMED, reason="the MAC covers the text of t as sent, not its number")

# Header.
V1 = tag(NOW)
BAD = "0" * 64
T = f"t={NOW}"
add("no header", "missing", [], reason="nothing is signed")
add("header twice, the same", "repeated", [good(), good()], source=ASSUMED,
    reason="one header line exactly")
add("header twice, the first good", "repeated", [good(), f"{T},v1={BAD}"], source=ASSUMED,
    reason="one header line exactly")
add("header twice, the second good", "repeated", [f"{T},v1={BAD}", good()], source=ASSUMED,
    reason="one header line exactly")
for header in ["", ",", ",,", "=", "t", "v1", "t,v1", "=1", T, f"v1={V1}", f"t={NOW},v0={V1}",
               f"T={NOW},v1={V1}", f"{T},V1={V1}", f"{T},v10={V1}", f"{T},v1 ={V1}",
               f"t ={NOW},v1={V1}", f"{T};v1={V1}", f"sha256={V1}", f"v1,{V1}", f"{T},v1:{V1}"]:
    add(f"header {header[:24]!r}", "malformed", header, source=ASSUMED,
        reason="no part with the key t, or none with the key v1")
for header, name in [(f"{T},{T},v1={V1}", "equal"), (f"{T},t=1,v1={V1}", "different"),
                     (f"t=1,{T},v1={V1}", "different, the other way round"),
                     (f"{T},v1={V1},{T}", "around v1"), (f"{T},t=,v1={V1}", "one empty")]:
    add(f"two t, {name}", "malformed", header, source=ASSUMED, reason="exactly one t")
for undecodable, name in [("", "empty"), (V1[:63], "63 digits"), (V1 + "0", "65 digits"),
                          (V1[:2], "one byte"), (V1[:62], "31 bytes"), (V1 + "00", "33 bytes"),
                          ("0x" + V1[2:], "0x"), ("+f" + V1[2:], "+f"), ("_" + V1[1:], "_"),
                          ("g" * 64, "no hex"), ("é" * 32, "multibyte"), (" " + V1, "space inside"),
                          (V1[:32] + " " + V1[32:], "space in the middle"), (f'"{V1}"', "quoted")]:
    add(f"v1 undecodable: {name}", "malformed", f"{T},v1={undecodable}", source=ASSUMED,
        reason="no v1 is 64 hex digits: malformed, not mismatch")
    add(f"v1 undecodable beside a good one: {name}", "accept",
        f"{T},v1={undecodable},v1={V1}", source=ASSUMED, reason="the undecodable one is skipped")
add("v1 undecodable, three of them", "malformed", f"{T},v1=,v1=x,v1={V1[:10]}", source=ASSUMED,
    reason="no v1 is 64 hex digits")
for position, name in [(0, "first"), (2, "middle"), (4, "last")]:
    parts = [f"v1={BAD}"] * 4
    parts.insert(position, f"v1={V1}")
    add(f"good v1 {name} of five", "accept", f"{T}," + ",".join(parts), source=ASSUMED,
        reason="any v1 that matches is enough")
add("good v1 repeated", "accept", f"{T},v1={V1},v1={V1}", source=ASSUMED, reason="any one is enough")
add("sixteen v1, the last good", "accept", f"{T}," + f"v1={BAD}," * 15 + f"v1={V1}", source=ASSUMED,
    reason="16 is the limit")
add("seventeen v1, the first good", "malformed", f"{T},v1={V1}" + f",v1={BAD}" * 16, source=ASSUMED,
    reason="more than 16")
add("seventeen v1, sixteen undecodable", "malformed", f"{T},v1={V1}" + ",v1=x" * 16, source=ASSUMED,
    reason="undecodable ones count")
add("sixteen v1, fifteen undecodable", "accept", f"{T}" + ",v1=x" * 15 + f",v1={V1}",
    source=ASSUMED, reason="16 is the limit")
add("header of 4096 bytes", "accept", good() + ",x=" + "y" * (4096 - len(good()) - 3),
    source=ASSUMED, reason="4,096 bytes is the limit")
add("header of 4097 bytes", "malformed", good() + ",x=" + "y" * (4097 - len(good()) - 3),
    source=ASSUMED, reason="more than 4,096 bytes")
add("v1 before t", "accept", f"v1={V1},{T}", source=ASSUMED, reason="order does not matter")
add("unknown keys", "accept", f"x=a=b,{T},v0={BAD},v1={V1},v2=abc,flag", source=ASSUMED,
    reason="unknown keys and parts without = are ignored")
add("empty parts and commas at the ends", "accept", f",,{T},,v1={V1},", source=ASSUMED,
    reason="empty parts are ignored")
add("spaces and tabs around the parts", "accept", f" \t{T} ,\t v1={V1}\t ", source=ASSUMED,
    reason="spaces and tabs at the ends of a part are dropped")
add("upper-case hex", "accept", f"{T},v1={V1.upper()}", source=ASSUMED, reason="either case")
add("mixed-case hex", "accept",
    f"{T},v1=" + "".join(c.upper() if i % 2 else c for i, c in enumerate(V1)), source=ASSUMED,
    reason="either case")
add("bytes above 0x7f in an unknown part", "accept", good().encode() + b",x=\xff\xfe",
    source=ASSUMED, reason="unknown parts are ignored")
add("bytes above 0x7f in v1", "malformed", f"{T},v1=".encode() + b"\xff" * 64, source=ASSUMED,
    reason="no hex")
add("NUL in an unknown part", "accept", good().encode() + b",\x00", source=ASSUMED,
    reason="unknown parts are ignored")
add("NUL in t", "malformed", f"t={NOW}\0,v1={V1}".encode(), source=ASSUMED,
    reason="t is ASCII digits alone")
add("line feed after v1", "malformed", f"{T},v1={V1}\n".encode(), source=ASSUMED,
    reason="only spaces and tabs are dropped")

# MAC.
add("other secret", "mismatch", good(secret=OTHER), reason="wrong key")
add("secret without its prefix", "mismatch", good(secret="test_secret"),
    reason="the prefix is part of the key")
add("secret with a newline", "mismatch", good(secret=SECRET + "\n"), reason="wrong key")
add("body alone was signed", "mismatch",
    f"{T},v1=" + hmac.new(SECRET.encode(), BODY.encode(), hashlib.sha256).hexdigest(),
    reason="t and the dot are signed too")
add("another t was signed", "mismatch", f"t={NOW + 1},v1={V1}", reason="t is signed")
add("plain SHA-256", "mismatch",
    f"{T},v1=" + hashlib.sha256(f"{NOW}.{BODY}".encode()).hexdigest(), reason="no key in it")
for name, body in [("one byte longer", BODY + " "), ("one byte shorter", BODY[:-1]),
                   ("one byte changed", BODY.replace("evt", "evu")), ("empty", ""),
                   ("with a BOM", "\ufeff" + BODY),
                   ("re-serialised", json.dumps(json.loads(BODY)))]:
    add(f"body {name}", "mismatch", good(), body=body, reason="every byte is signed")
add("CRLF for LF", "mismatch", good(body="a\nb"), body="a\r\nb", reason="every byte is signed")
for name, body in [("invalid UTF-8", b"\xff\xfe\xfd"), ("NUL bytes", b"\0\0\0"),
                   ("a BOM, signed", "\ufeff{}".encode()), ("all byte values", bytes(range(256)))]:
    add(f"body of {name}", "accept", good(body=body), body=body,
        reason="the body is bytes, whatever they say")
for bit in range(256):
    flipped = bytearray.fromhex(V1)
    flipped[bit // 8] ^= 1 << (bit % 8)
    if bit % 8 == bit // 8 % 8:
        add(f"bit {bit} of the tag flipped", "mismatch", f"{T},v1={flipped.hex()}",
            reason="all 256 bits count")

# Several secrets.
add("previous secret", "accept", good(secret=OTHER), secrets=[SECRET, OTHER], index=1,
    source=ASSUMED, reason="the second of two accepted secrets")
add("current secret of two", "accept", good(), secrets=[SECRET, OTHER], source=ASSUMED,
    reason="the first of two accepted secrets")
add("both secrets sign", "accept", f"{T},v1={tag(NOW, secret=OTHER)},v1={V1}",
    secrets=[SECRET, OTHER], source=ASSUMED, reason="the lowest index is told")
add("third of three secrets", "accept", good(secret=OTHER), secrets=[SECRET, "whsec_x", OTHER],
    index=2, source=ASSUMED, reason="all accepted secrets are tried")
add("neither secret", "mismatch", good(secret="whsec_x"), secrets=[SECRET, OTHER],
    reason="wrong key")

document = {
    "about": "Vectors of the Ptolemy-Signature check. `headers` are the header lines of a request "
             "(`headers_hex` and `body_hex` hold bytes in hex where text cannot), `now` is the "
             "receiver's clock in Unix seconds, `tolerance` counts seconds, `secrets` are accepted "
             "in this order, and `secret_index` is the one that matched.",
    "made_by": "tests/vectors/signature.py",
    "vectors": vectors,
}
assert len({vector["name"] for vector in vectors}) == len(vectors)
print(json.dumps(document, ensure_ascii=False, indent=1))
