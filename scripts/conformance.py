"""What the conformance runs share: cases with names, a server with keys, and orders in it that are each case's own."""

import argparse
import itertools
import json
import secrets
import subprocess
import sys
import threading
import time
import traceback
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from rig import OPENER, Failed, Rig

CASES = []


def case(name, *arguments):
    """Registers a function as the case `name`; it is called with the world and `arguments`."""

    def register(function):
        CASES.append((name, function, arguments))
        return function

    return register


def equal(found, expected, what="found"):
    if found != expected:
        raise Failed(f"{what}: {found!r}, expected {expected!r}")


def check(condition, what):
    if not condition:
        raise Failed(what)


class World:
    """A server that takes tokens, and what cases need of it."""

    HEARTBEAT_MS = 1000

    def __init__(self, rig, more=None):
        self.rig = rig
        self.secret = rig.folder / "secret"
        self.secret.write_text(secrets.token_hex(32))
        self.secret.chmod(0o600)
        self.settings = {
            "TRUNKLINE_AUTH__SECRET_FILE": str(self.secret), "TRUNKLINE_AUTH__EXPIRY_GRACE_S": "1",
            "TRUNKLINE_BRIDGE__HEARTBEAT_S": str(self.HEARTBEAT_MS // 1000), **(more or {}),
        }
        self.numbers = itertools.count(1)
        self.tokens, self.lock = {}, threading.Lock()

    def start(self):
        self.rig.start_nats()
        self.rig.start_server(settings=self.settings)

    @property
    def port(self):
        return self.rig.http_port

    def token(self, role, sub, lifetime="1h"):
        """What `trunkline token` prints; made once."""
        with self.lock:
            if lifetime != "1h" or (role, sub) not in self.tokens:
                command = [self.rig.trunkline, "token", "--role", role, "--sub", sub, "--for", lifetime]
                done = subprocess.run(
                    [*map(str, command), "--secret-file", str(self.secret)], capture_output=True, text=True, check=True
                )
                if lifetime != "1h":
                    return done.stdout.strip()
                self.tokens[role, sub] = done.stdout.strip()
            return self.tokens[role, sub]

    def name(self, kind):
        """An id that nobody else has."""
        return f"{kind}{next(self.numbers)}"

    def call(self, method, path, body=None, role="operations", sub="alice", key=None):
        """Status and body of a request."""
        headers = {
            "Authorization": "Bearer " + self.token(role, sub), "Content-Type": "application/json",
            "Idempotency-Key": key or self.name("key"),
        }
        data = json.dumps(body).encode() if body is not None else (b"" if method == "POST" else None)
        request = urllib.request.Request(self.rig.http_url + path, data, headers, method=method)
        try:
            with OPENER.open(request, timeout=15) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    def does(self, path, body=None):
        """A command that must be accepted; its answer."""
        status, answer = self.call("POST", path, body)
        if status not in (200, 201):
            raise Failed(f"POST {path}: {status} {answer}")
        return answer

    def read(self, order):
        """The order's snapshot as operations see it."""
        return self.call("GET", f"/v1/orders/{order.id}")[1]

    def pay(self, order):
        return self.does(f"/v1/orders/{order.id}/pay")

    def order(self, upto="created"):
        """A new order, `created`, `paid` or `delivering`, with a user, a warehouse and a rider of its own."""
        order = Order(*map(self.name, "ouwr"))
        self.does("/v1/orders", {
            "id": order.id, "user_id": order.user, "amount_minor": 4200, "currency": "CNY", "items": 3,
            "warehouse": {"id": order.warehouse, "name": "North", "lat": 31.2, "lon": 121.4},
            "destination": {"lat": 31.21, "lon": 121.45},
        })
        if upto in ("paid", "delivering"):
            self.pay(order)
        if upto == "delivering":
            self.does(f"/v1/orders/{order.id}/assign", {"rider": order.rider})
            self.does(f"/v1/warehouses/{order.warehouse}/orders/{order.id}/stages/packed")
        return order


class Order:
    def __init__(self, order, user, warehouse, rider):
        self.id, self.user, self.warehouse, self.rider = order, user, warehouse, rider


def run_case(world, function, arguments):
    """None, or why it failed."""
    try:
        function(world, *arguments)
        return None
    except Exception as error:  # pylint: disable=broad-except
        where = traceback.extract_tb(error.__traceback__)
        lines = [f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in where[-3:]]
        return f"{type(error).__name__}: {error} ({', '.join(lines)})"


def run(what, more=None, world=None):
    """Runs the registered cases as the command line says, in `world` of the run's rig; gives the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trunkline")
    parser.add_argument("--nats-server")
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    names = [name for name, *_ in CASES]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        print(f"names are used twice: {twice}", file=sys.stderr)
        return 2
    chosen = [entry for entry in CASES if args.only in entry[0]]
    if args.list:
        print("\n".join(name for name, *_ in chosen))
        return 0
    if not chosen:
        print(f"no case is called like `{args.only}`", file=sys.stderr)
        return 2
    begin, failed = time.monotonic(), []
    with Rig(args) as rig:
        world = world(rig) if world else World(rig, more)
        world.start()
        with ThreadPoolExecutor(args.jobs) as pool:
            runs = [(name, pool.submit(run_case, world, function, rest)) for name, function, rest in chosen]
            for name, result in runs:
                why = result.result()
                print(f"{'FAILED' if why else 'ok':7}{name}" + (f"\n       {why}" if why else ""), flush=True)
                failed += [name] if why else []
        alive = all(child.alive() for child in rig.children)
    print(f"{what}: {len(chosen)} cases, {len(failed)} failed, {time.monotonic() - begin:.0f} s")
    if not alive:
        print("the server or nats-server ended meanwhile", file=sys.stderr)
    return 1 if failed or not alive else 0
