"""Some orders in every state and some riders, over HTTP: something to be found by requests that are made up.

usage: populate.py http://HOST:PORT [nats://HOST:PORT]    (TOKEN in the environment is sent as a bearer token)

With the address of NATS, the rules in force are first made the newest that the program knows: failed attempts, returns, missing
items and edits are among them.
"""

import json
import os
import socket
import sys
import time
import urllib.error
import urllib.request

BASE = sys.argv[1]
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def post(path, body, key=None):
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Idempotency-Key"] = key
    if os.environ.get("TOKEN"):
        headers["Authorization"] = "Bearer " + os.environ["TOKEN"]
    request = urllib.request.Request(BASE + path, json.dumps(body).encode(), headers, method="POST")
    try:
        with OPENER.open(request, timeout=20) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        sys.exit(f"{path}: {error.code} {error.read().decode()}")


def create(order, n):
    post("/v1/orders", {
        "id": order, "user_id": f"u-{n % 3}", "amount_minor": 4200 + n, "currency": "CNY", "items": 3,
        "warehouse": {"id": "w-1", "name": "Pudong", "lat": 31.2, "lon": 121.4},
        "destination": {"lat": 31.21 + n * 0.001, "lon": 121.45},
        "contact": {"name": "Wang", "phone": "13812345678"}, "address": "1 Road", "notes": "ring twice",
    }, f"create-{order}")


def publish(address, subject, body):
    """One message, said in NATS's own words; PONG comes when the server has taken it."""
    host, port = address.removeprefix("nats://").rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as wire, wire.makefile("rwb") as lines:
        lines.readline()
        payload = json.dumps(body).encode()
        head = 'CONNECT {"verbose":false,"pedantic":false}\r\nPUB %s %d\r\n' % (subject, len(payload))
        lines.write(head.encode() + payload + b"\r\nPING\r\n")
        lines.flush()
        if lines.readline().strip() != b"PONG":
            sys.exit(f"{subject}: the server didn't take it")


if len(sys.argv) > 2:
    publish(sys.argv[2], "control.default.rules", {"rules_version": 2})

for n in range(3):
    rider = f"r-{n}"
    post(f"/v1/riders/{rider}/shift", {"on": True})
    post(f"/v1/riders/{rider}/fix", {"lat": 31.2 + n * 0.002, "lon": 121.4, "fix_time_ms": int(time.time() * 1000)})

STEPS = [
    [],
    ["pay"],
    ["pay", "picking", "packed"],
    ["pay", "packed", "assign"],
    ["pay", "packed", "assign", "fail"],
    ["pay", "packed", "assign", "deliver"],
    ["cancel"],
]
for n, steps in enumerate(STEPS):
    order = f"o-{n}"
    create(order, n)
    for step in steps:
        if step in ("picking", "packed"):
            post(f"/v1/warehouses/w-1/orders/{order}/stages/{step}", {})
            continue
        body = {"assign": {"rider": f"r-{n % 3}"}, "fail": {"reason": "nobody there"}}.get(step, {})
        post(f"/v1/orders/{order}/{step}", body, f"{step}-{order}")
# The name that the document's examples have.
create("r-17", 8)
print(f"{len(STEPS) + 1} orders, 3 riders")
