"""What STOMP's cases need: a client that reads strictly, and the steps that many of them begin with."""

import json
import time

import websocket
from conformance import case, check, equal
from rig import Failed

VERSIONS = ("1.0", "1.1", "1.2")
LATER = ("1.1", "1.2")
NUL = "\0"


class Frame:
    """A frame of the server's, which must be one message by itself: stock clients lose others."""

    def __init__(self, text, version):
        check(text.endswith(NUL), f"a message that doesn't end with its frame: {text[-40:]!r}")
        check(not text.startswith(("\n", "\r")), f"a frame after an end of line: {text[:40]!r}")
        head, _, self.body = text[:-1].partition("\n\n")
        lines = head.split("\n")
        self.command, self.headers = lines[0], {}
        self.raw = lines[1:]
        for line in lines[1:]:
            name, _, value = line.partition(":")
            check("\r" not in line, f"a carriage return in {line!r}")
            if version in LATER and self.command != "CONNECTED":
                name, value = unescape(name), unescape(value)
            self.headers.setdefault(name, value)
        if "content-length" in self.headers:
            equal(int(self.headers["content-length"]), len(self.body.encode()), "content-length")

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.command} {self.headers} {self.body[:300]}"


def unescape(text):
    for escaped, meant in (("\\r", "\r"), ("\\n", "\n"), ("\\c", ":"), ("\\\\", "\\")):
        text = text.replace(escaped, meant)
    return text


def frame(command, headers=(), body="", end=NUL):
    """A frame as text; headers as they are."""
    pairs = headers.items() if isinstance(headers, dict) else headers
    return command + "\n" + "".join(f"{name}:{value}\n" for name, value in pairs) + "\n" + body + end


def dashed(headers):
    """Headers out of arguments: their names have dashes for underscores."""
    return {name.replace("_", "-"): value for name, value in headers.items()}


def bearer(world, role="operations", sub="alice"):
    return "Bearer " + world.token(role, sub)


class Client:
    """A connection. With `connect` it says CONNECT as `role` and `sub`, and waits for the answer."""

    def __init__(self, world, version="1.2", role="operations", sub="alice", connect=True, **upgrade):
        self.world, self.version, self.role, self.sub = world, version, role, sub
        self.beats, self.waiting = [], []
        path = upgrade.pop("path", "/ws/websocket")
        self.ws = websocket.WebSocket(world.port, path, **upgrade)
        if connect:
            self.connected = self.connect()

    def connect(self, more=(), command="CONNECT"):
        token = bearer(self.world, self.role, self.sub)
        headers = [("accept-version", self.version), ("host", "trunkline"), ("Authorization", token), *more]
        self.say(command, headers)
        return self.expect("CONNECTED")

    def text(self, text):
        self.ws.send(text)

    def say(self, command, headers=(), body=""):
        self.text(frame(command, headers, body))

    def next(self, seconds=5.0):
        """The next frame, or None. Heart-beats are noted."""
        if self.waiting:
            return self.waiting.pop(0)
        deadline = time.monotonic() + seconds
        while True:
            text = self.ws.receive(max(0.0, deadline - time.monotonic()))
            if text is None:
                return None
            if text == "\n":
                self.beats.append(time.monotonic())
                continue
            return Frame(text, self.version)

    def expect(self, command, seconds=5.0, **headers):
        """The next frame of this kind with these headers; messages before it are passed over, anything else fails."""
        wanted = dashed(headers)
        deadline = time.monotonic() + seconds
        while True:
            found = self.next(max(0.0, deadline - time.monotonic()))
            if found is None:
                raise Failed(f"no {command} {wanted} within {seconds} s")
            if found.command == command and all(found.headers.get(name) == value for name, value in wanted.items()):
                return found
            if found.command != "MESSAGE" and found.command != "RECEIPT":
                raise Failed(f"instead of {command} {wanted}: {found}")

    def message(self, subscription, seconds=5.0):
        return self.expect("MESSAGE", seconds, subscription=subscription)

    def quiet(self, seconds=0.7):
        """Nothing but heart-beats comes."""
        found = self.next(seconds)
        if found is not None:
            raise Failed(f"unasked: {found}")

    def receipt(self, receipt, seconds=5.0):
        return self.expect("RECEIPT", seconds, receipt_id=receipt)

    def receipts(self, count):
        """The ids of so many receipts, as they come."""
        return [self.expect("RECEIPT").headers["receipt-id"] for _ in range(count)]

    def stays(self):
        """The connection is open: what is asked on it is answered."""
        self.say("BEGIN", {"transaction": "t", "receipt": "there"})
        self.receipt("there")

    def command(self, order, verb, key, body="", **headers):
        """Sends a command to an order."""
        named = {"destination": f"/app/orders/{order.id}/{verb}", "Idempotency-Key": key}
        self.say("SEND", named | dashed(headers), body)

    def subscribe(self, destination, name="s", **headers):
        """Subscribes; gives the receipt."""
        named = {"id": name, "destination": destination, "receipt": f"sub-{name}"}
        self.say("SUBSCRIBE", named | dashed(headers))
        return self.receipt(f"sub-{name}")

    def fails(self, status=None, code=None, field=None, receipt=None, seconds=5.0):
        """An ERROR comes, and then the end."""
        error = self.expect("ERROR", seconds)
        check(error.headers.get("message"), "an ERROR without a message")
        equal(error.headers.get("content-type"), "application/problem+json", "content-type")
        problem = error.json()
        if status:
            equal(problem["status"], status, f"status of {problem}")
        if field:
            equal(problem.get("field"), field, f"field of {problem}")
        equal(error.headers.get("receipt-id"), receipt, "receipt-id")
        self.ends(code)
        return error

    def ends(self, code=None):
        """The server closes, and says nothing more."""
        try:
            found = self.next(5.0)
        except websocket.Closed as closed:
            check(closed.code is not None, f"no close frame: {closed.reason}")
            if code:
                equal(closed.code, code, "close code")
            return closed.code
        raise Failed(f"it isn't closed: {found}")


def handshake(world, *headers, **client):
    """A client that has said a CONNECT of these headers alone. What it is answered isn't read yet."""
    client = Client(world, connect=False, **client)
    client.say("CONNECT", headers)
    return client


def following(world, version="1.2", rest="", name="s", role="operations", upto="created"):
    """A new order, a client that is subscribed to it (or to `rest` of it), and the first message of that. In another role than
    operations' it is the order's own customer or rider."""
    order = world.order(upto)
    sub = {"operations": "alice", "customer": order.user, "rider": order.rider}[role]
    client = Client(world, version, role, sub)
    client.subscribe(f"/topic/orders/{order.id}{rest}", name)
    return order, client, client.message(name)


def rider_of(world, version="1.2"):
    """A new order on its way, and its rider as a client."""
    order = world.order("delivering")
    return order, Client(world, version, "rider", order.rider)


def acknowledger(world, version, ack, count=2):
    """A client with so many messages of the heartbeats to acknowledge, and their names."""
    client = Client(world, version)
    client.subscribe("/topic/heartbeat", "h", ack=ack)
    messages = [client.message("h").headers for _ in range(count)]
    return client, [headers["ack" if version == "1.2" else "message-id"] for headers in messages]


def acknowledge(client, name, receipt=None, command="ACK", **more):
    """Says it of a message, as the client's version names it."""
    header = {"1.0": {"message-id": name}, "1.1": {"message-id": name, "subscription": "h"}, "1.2": {"id": name}}
    headers = {**header[client.version], **({"receipt": receipt} if receipt else {}), **more}
    client.say(command, headers)


def each(name, versions=VERSIONS):
    """A case for each version."""

    def register(function):
        for version in versions:
            case(f"{name} ({version})", version)(function)
        return function

    return register
