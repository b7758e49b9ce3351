"""Cases of STOMP 1.0, 1.1 and 1.2 over a WebSocket, written from the specifications. Started by `scripts/conformance`."""

import json
import sys
import time

import websocket
from conformance import case, check, equal, run
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


class Client:
    """A connection. Without `headers` of its own it says CONNECT as `role` and `sub`, and waits for the answer."""

    def __init__(self, world, version="1.2", role="operations", sub="alice", connect=True, **upgrade):
        self.world, self.version, self.role, self.sub = world, version, role, sub
        self.beats, self.waiting = [], []
        path = upgrade.pop("path", "/ws/websocket")
        self.ws = websocket.WebSocket(world.port, path, **upgrade)
        if connect:
            self.connected = self.connect()

    def bearer(self):
        return "Bearer " + self.world.token(self.role, self.sub)

    def connect(self, more=(), command="CONNECT"):
        headers = [("accept-version", self.version), ("host", "trunkline"), ("Authorization", self.bearer()), *more]
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
        wanted = {name.replace("_", "-"): value for name, value in headers.items()}
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

    def subscribe(self, destination, name="s", **headers):
        """Subscribes; gives the receipt."""
        more = [(header.replace("_", "-"), value) for header, value in headers.items()]
        self.say("SUBSCRIBE", [("id", name), ("destination", destination), ("receipt", f"sub-{name}"), *more])
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


def each(name, versions=VERSIONS):
    """A case for each version."""

    def register(function):
        for version in versions:
            case(f"{name} ({version})", version)(function)
        return function

    return register


# --- The handshake ---


@each("connect: a version alone is agreed upon")
def _(world, version):
    client = Client(world, version)
    equal(client.connected.headers["version"], version)
    check(client.connected.headers["session"], "no session")
    check(client.connected.headers["server"].startswith("trunkline/"), "no server")
    equal(client.connected.body, "")


@case("connect: without accept-version it is 1.0")
def _(world):
    client = Client(world, "1.0", connect=False)
    client.say("CONNECT", [("Authorization", client.bearer())])
    equal(client.expect("CONNECTED").headers["version"], "1.0")


for offered, agreed in (("1.0,1.1,1.2", "1.2"), ("1.1,1.0", "1.1"), (" 1.0 , 1.1 ", "1.1"), ("1.2,2.7", "1.2"), ("9,1.0", "1.0")):

    @case(f"connect: of {offered!r} {agreed} is agreed upon", offered, agreed)
    def _(world, offered, agreed):
        equal(Client(world, offered).connected.headers["version"], agreed)


@case("connect: no common version is an ERROR that says which there are")
def _(world):
    client = Client(world, "2.0", connect=False)
    client.say("CONNECT", [("accept-version", "2.0,3.1"), ("Authorization", client.bearer())])
    error = client.fails(400, 4205, "accept-version")
    equal(error.headers["version"], "1.0,1.1,1.2")


@each("connect: STOMP does as well as CONNECT")
def _(world, version):
    client = Client(world, version, connect=False)
    equal(client.connect(command="STOMP").headers["version"], version)


@each("connect: the answer has heart-beat even where none was asked for")
def _(world, version):
    expected = "0,0" if version == "1.0" else f"{world.HEARTBEAT_MS},{world.HEARTBEAT_MS}"
    equal(Client(world, version).connected.headers["heart-beat"], expected)


@case("connect: host isn't needed, and nothing is escaped")
def _(world):
    client = Client(world, connect=False)
    client.say("CONNECT", [("accept-version", "1.2"), ("odd", "a\\tb:c\\"), ("token", world.token("operations", "alice"))])
    client.expect("CONNECTED")


@case("connect: of repeated headers the first counts")
def _(world):
    client = Client(world, connect=False)
    token = world.token("operations", "alice")
    client.say("CONNECT", [("accept-version", "1.1"), ("accept-version", "1.2"), ("token", token), ("token", "no")])
    equal(client.expect("CONNECTED").headers["version"], "1.1")


@case("connect: lines may end in CR LF, and ends of line may come first")
def _(world):
    client = Client(world, connect=False)
    client.text("\r\n\n" + frame("CONNECT", [("accept-version", "1.2"), ("Authorization", client.bearer())]).replace("\n", "\r\n"))
    client.expect("CONNECTED")


@case("connect: a frame before it is an ERROR")
def _(world):
    client = Client(world, connect=False)
    client.say("SUBSCRIBE", [("id", "1"), ("destination", "/topic/cell")])
    client.fails(400, 4201, "frame")


@case("connect: a second one is an ERROR")
def _(world):
    client = Client(world)
    client.say("CONNECT", [("accept-version", "1.2"), ("receipt", "again")])
    client.fails(400, 4201, "frame", "again")


@case("connect: who says nothing is sent away")
def _(world):
    client = Client(world, connect=False)
    client.fails(401, 4203, "token", seconds=14)


@case("connect: who says nothing is sent away, known or not")
def _(world):
    client = Client(world, connect=False, headers=[("Authorization", "Bearer " + world.token("operations", "alice"))])
    client.fails(408, 4205, "frame", seconds=14)


@case("connect: a text that is no STOMP is an ERROR")
def _(world):
    client = Client(world, connect=False)
    client.text('{"type":"subscribe"}\n\n' + NUL)
    client.fails(400, 4201, "frame")


@case("connect: what is sent with it, before its answer, is done after it")
def _(world):
    order = world.order()
    client = Client(world, connect=False)
    client.text(
        frame("CONNECT", [("accept-version", "1.2"), ("Authorization", client.bearer())])
        + frame("SUBSCRIBE", [("id", "a\\cb"), ("destination", f"/topic/orders/{order.id}")])
    )
    client.expect("CONNECTED")
    equal(client.message("a:b").json()["orderId"], order.id)


for wrong in ("", "1000", "1000,", "-1,0", "a,b", "1,2,3"):

    @case(f"connect: a heart-beat of {wrong!r} is an ERROR", wrong)
    def _(world, wrong):
        client = Client(world, connect=False)
        client.say("CONNECT", [("accept-version", "1.2"), ("heart-beat", wrong), ("Authorization", client.bearer())])
        client.fails(400, 4205, "heart-beat")


for offers, chosen in ((["v12.stomp"], "v12.stomp"), (["v10.stomp", "v11.stomp", "v12.stomp"], "v12.stomp"),
                       (["v10.stomp"], "v10.stomp"), ([], None)):

    @case(f"connect: of the subprotocols {offers} the answer is {chosen}", offers, chosen)
    def _(world, offers, chosen):
        equal(Client(world, protocols=offers).ws.protocol, chosen)


@case("connect: of subprotocols that aren't STOMP's none is taken")
def _(world):
    equal(Client(world, protocols=["mqtt"]).ws.protocol, None)


# --- Who it is ---


for header, prefix in (("Authorization", "Bearer "), ("authorization", "bearer "), ("token", ""), ("passcode", "")):

    @case(f"token: in the header {header}", header, prefix)
    def _(world, header, prefix):
        client = Client(world, role="customer", sub="u0", connect=False)
        client.say("CONNECT", [("accept-version", "1.2"), ("login", "x"), (header, prefix + world.token("customer", "u0"))])
        client.expect("CONNECTED")


@case("token: none is an ERROR")
def _(world):
    client = Client(world, connect=False)
    client.say("CONNECT", [("accept-version", "1.2"), ("host", "x")])
    client.fails(401, 4203, "token")


@case("token: a bad one is an ERROR")
def _(world):
    client = Client(world, connect=False)
    client.say("CONNECT", [("accept-version", "1.2"), ("token", world.token("operations", "alice")[:-3])])
    client.fails(401, 4203, "token")


@case("token: another scheme is an ERROR")
def _(world):
    client = Client(world, connect=False)
    client.say("CONNECT", [("accept-version", "1.2"), ("Authorization", "Basic YTpi")])
    client.fails(400, 4205, "Authorization")


@case("token: of the upgrade's header, and a passcode beside it isn't looked at")
def _(world):
    bearer = "Bearer " + world.token("operations", "alice")
    client = Client(world, connect=False, headers=[("Authorization", bearer)])
    client.say("CONNECT", [("accept-version", "1.1"), ("login", "guest"), ("passcode", "guest")])
    equal(client.expect("CONNECTED").headers["version"], "1.1")


@case("token: of a cookie, from a page of this server")
def _(world):
    cookie = "trunkline_token=" + world.token("customer", "u0")
    client = Client(world, connect=False, headers=[("Cookie", cookie), ("Origin", f"http://127.0.0.1:{world.port}")])
    client.say("CONNECT", [("accept-version", "1.2")])
    client.expect("CONNECTED")


@case("token: of a cookie, from another site's page, is refused")
def _(world):
    cookie = "trunkline_token=" + world.token("customer", "u0")
    try:
        Client(world, connect=False, headers=[("Cookie", cookie), ("Origin", "https://evil.example")])
    except websocket.Refused as refused:
        return equal(refused.status, 403)
    raise Failed("it was taken")


@case("token: another's in the CONNECT than at the upgrade is an ERROR")
def _(world):
    bearer = "Bearer " + world.token("operations", "alice")
    client = Client(world, connect=False, headers=[("Authorization", bearer)])
    client.say("CONNECT", [("accept-version", "1.2"), ("token", world.token("customer", "u0"))])
    client.fails(401, 4203, "token")


@case("token: a newer one is taken by a SEND, as header or body")
def _(world):
    client = Client(world)
    time.sleep(1.1)
    client.say("SEND", [("destination", "/app/token"), ("receipt", "1"), ("token", world.token("operations", "alice", "2h"))])
    client.receipt("1")
    client.say("SEND", [("destination", "/app/token"), ("receipt", "2")], world.token("operations", "alice", "3h"))
    client.receipt("2")


@case("token: a newer one of somebody else is an ERROR")
def _(world):
    client = Client(world)
    client.say("SEND", [("destination", "/app/token"), ("receipt", "1")], world.token("operations", "bob"))
    client.fails(401, 4203, "token", "1")


@case("token: that it expires is told, and ends with an ERROR")
def _(world):
    client = Client(world, connect=False)
    client.say("CONNECT", [("accept-version", "1.2"), ("token", world.token("operations", "brief", "2s"))])
    client.expect("CONNECTED")
    client.subscribe("/user/queue/errors", "e")
    equal(client.message("e", 5).json()["type"], "expired")
    client.fails(401, 4202, "token")


# --- Heart-beats ---


def beating(world, version, wish):
    client = Client(world, version, connect=False)
    client.connect([("heart-beat", wish)])
    return client


@each("heart-beats: the server sends those that were asked for, on time", LATER)
def _(world, version):
    client = beating(world, version, "0,1000")
    begin = time.monotonic()
    client.quiet(3.2)
    check(len(client.beats) >= 3, f"{len(client.beats)} in 3.2 s")
    gaps = [after - before for before, after in zip([begin, *client.beats], client.beats)]
    check(max(gaps) < 1.3, f"gaps {gaps}")


@each("heart-beats: none are sent to who wants none", LATER)
def _(world, version):
    client = beating(world, version, "0,0")
    client.quiet(2.5)
    equal(client.beats, [])


@case("heart-beats: 1.0 has none")
def _(world):
    client = beating(world, "1.0", "500,500")
    client.quiet(3.5)
    equal(client.beats, [])


@each("heart-beats: a slower wish is granted", LATER)
def _(world, version):
    client = beating(world, version, "0,2500")
    client.quiet(3.2)
    equal(len(client.beats), 1, "beats in 3.2 s")


@each("heart-beats: a faster wish gets what the server offers", LATER)
def _(world, version):
    client = beating(world, version, "0,100")
    client.quiet(2.1)
    check(2 <= len(client.beats) <= 3, f"{len(client.beats)} beats in 2.1 s")


@each("heart-beats: a client that promised some and is silent is sent away", LATER)
def _(world, version):
    client = beating(world, version, "1000,0")
    begin = time.monotonic()
    client.fails(408, 4205, "heart-beat", seconds=6)
    took = time.monotonic() - begin
    check(2.5 < took < 4.5, f"after {took:.1f} s")


@each("heart-beats: a client that keeps its promise stays", LATER)
def _(world, version):
    client = beating(world, version, "1000,0")
    for _ in range(5):
        client.quiet(0.9)
        client.text("\n")
    client.say("BEGIN", {"transaction": "t", "receipt": "there"})
    client.receipt("there")


@case("heart-beats: one that is missing is forgiven")
def _(world):
    client = beating(world, "1.2", "1000,0")
    for _ in range(2):
        client.quiet(2.2)
        client.text("\n")
    client.say("BEGIN", {"transaction": "t", "receipt": "there"})
    client.receipt("there")


@case("heart-beats: any frame is one, and a part of a frame as well")
def _(world):
    client = beating(world, "1.2", "1000,0")
    for n, text in enumerate([frame("BEGIN", {"transaction": "t"}), "ABO", "RT\ntransac", "tion:t\nrecei", "pt:done\n\n\0"]):
        client.text(text)
        if n < 4:
            client.quiet(1.0)
    client.receipt("done")


@case("heart-beats: who promised none may be silent")
def _(world):
    client = beating(world, "1.2", "0,1000")
    client.quiet(4.5)
    check(len(client.beats) >= 4, f"{len(client.beats)} beats")


# --- Subscriptions ---

WHOLE = {"orderId", "status", "statusText", "longitude", "latitude", "address", "operatorId", "operatorType", "createTime",
         "eta", "version"}


@each("subscribe: an order's whole body comes at once, with its headers")
def _(world, version):
    order = world.order()
    client = Client(world, version, "customer", order.user)
    equal(client.subscribe(f"/topic/orders/{order.id}", "sub-0").headers["recovery"], "fresh")
    message = client.message("sub-0")
    headers, body = message.headers, message.json()
    equal(set(body), WHOLE, "members")
    equal((body["orderId"], body["status"], body["statusText"]), (order.id, 1, "待支付"))
    equal(headers["destination"], f"/topic/orders/{order.id}")
    equal(headers["content-type"], "application/json")
    check(headers["message-id"] and headers["content-length"], "no message-id or content-length")
    equal((int(headers["version"]), headers["recovery"]), (body["version"], "fresh"))
    check(int(headers["epoch"]) >= 0, "no epoch")
    check("ack" not in headers, "an ack header without being asked")


@each("subscribe: each change is a whole body of a higher version")
def _(world, version):
    order = world.order()
    client = Client(world, version, "customer", order.user)
    client.subscribe(f"/topic/orders/{order.id}")
    first = client.message("s").json()
    world.does(f"/v1/orders/{order.id}/pay")
    message = client.message("s")
    body = message.json()
    equal((set(body), body["status"], body["statusText"]), (WHOLE, 2, "仓库处理中"))
    check(body["version"] > first["version"], "no higher version")
    check("recovery" not in message.headers, "it doesn't begin twice")


@each("subscribe: deltas for those that merge")
def _(world, version):
    order = world.order()
    client = Client(world, version, "customer", order.user)
    client.subscribe(f"/topic/orders/{order.id}/delta")
    first = client.message("s")
    equal((first.json()["type"], first.json()["state"]["status"]), ("snapshot", 1))
    world.does(f"/v1/orders/{order.id}/pay")
    second = client.message("s")
    equal((second.json()["type"], second.json()["patch"]["status"]), ("delta", 2))
    equal(second.json()["from"], first.json()["version"])
    equal(int(second.headers["version"]), second.json()["to"])
    equal(second.headers["destination"], f"/topic/orders/{order.id}/delta")


for place in ("riders", "warehouses", "cell", "alerts"):

    @case(f"subscribe: /topic/{place} to operations", place)
    def _(world, place):
        order = world.order("delivering")
        name = {"riders": "/" + order.rider, "warehouses": "/" + order.warehouse}.get(place, "")
        client = Client(world)
        client.subscribe(f"/topic/{place}{name}")
        equal(client.message("s").json()["type"], "snapshot")


@case("subscribe: a rider may follow themselves and no other")
def _(world):
    order = world.order("delivering")
    client = Client(world, role="rider", sub=order.rider)
    client.subscribe(f"/topic/riders/{order.rider}")
    client.message("s")
    client.say("SUBSCRIBE", {"id": "2", "destination": "/topic/riders/other", "receipt": "no"})
    client.fails(403, 4205, receipt="no")


@case("subscribe: the heartbeats say versions")
def _(world):
    order = world.order()
    client = Client(world)
    client.subscribe("/topic/heartbeat", "beat")
    client.subscribe(f"/topic/orders/{order.id}/delta", "d")
    deadline = time.monotonic() + 8
    while time.monotonic() < deadline:
        body = client.message("beat").json()
        equal(body["type"], "heartbeat")
        if order.id in body["orders"]:
            return
    raise Failed("the order's version isn't said")


@each("subscribe: two to one destination both get all")
def _(world, version):
    order = world.order()
    client = Client(world, version)
    for name in ("a", "b"):
        client.subscribe(f"/topic/orders/{order.id}", name)
        equal(client.message(name).json()["status"], 1)
    client.quiet(0.3)
    world.does(f"/v1/orders/{order.id}/pay")
    got = {}
    while len(got) < 2:
        message = client.expect("MESSAGE")
        got[message.headers["subscription"]] = message
    equal({name: message.json()["status"] for name, message in got.items()}, {"a": 2, "b": 2})
    equal(len({message.headers["message-id"] for message in got.values()}), 2, "message-ids")


@each("subscribe: whole bodies and deltas beside each other")
def _(world, version):
    order = world.order()
    client = Client(world, version)
    client.subscribe(f"/topic/orders/{order.id}", "w")
    client.message("w")
    client.subscribe(f"/topic/orders/{order.id}/delta", "d")
    equal(client.message("d").json()["type"], "snapshot")
    world.does(f"/v1/orders/{order.id}/pay")
    seen = {client.expect("MESSAGE").headers["subscription"] for _ in range(2)}
    equal(seen, {"w", "d"})


@each("subscribe: an id that is in use is an ERROR")
def _(world, version):
    client = Client(world, version)
    client.subscribe("/topic/heartbeat", "x")
    client.say("SUBSCRIBE", {"id": "x", "destination": "/topic/cell", "receipt": "again"})
    client.fails(400, 4205, "id", "again")


@each("subscribe: without an id it is an ERROR", LATER)
def _(world, version):
    client = Client(world, version)
    client.say("SUBSCRIBE", {"destination": "/topic/cell"})
    client.fails(400, 4205, "id")


@case("subscribe: 1.0 does without an id, and unsubscribes by destination")
def _(world):
    order = world.order()
    client = Client(world, "1.0")
    destination = f"/topic/orders/{order.id}"
    client.say("SUBSCRIBE", {"destination": destination, "receipt": "r"})
    client.receipt("r")
    message = client.expect("MESSAGE", destination=destination)
    check("subscription" not in message.headers, "a subscription header of its own making")
    client.say("UNSUBSCRIBE", {"destination": destination, "receipt": "u"})
    client.receipt("u")
    world.does(f"/v1/orders/{order.id}/pay")
    client.quiet()


@each("subscribe: without a destination it is an ERROR")
def _(world, version):
    client = Client(world, version)
    client.say("SUBSCRIBE", {"id": "1"})
    client.fails(400, 4205, "destination")


for odd in ("", "/queue/x", "/topic/orders", "/topic/orders/", "/topic/orders/a.b", "/topic/orders/*", "topic/cell", "/app/tracking"):

    @case(f"subscribe: to {odd!r} is an ERROR", odd)
    def _(world, odd):
        client = Client(world)
        client.say("SUBSCRIBE", {"id": "1", "destination": odd, "receipt": "r"})
        client.fails(400, 4205, "destination", "r")


@each("subscribe: to an order that isn't there is an ERROR with the receipt")
def _(world, version):
    client = Client(world, version)
    client.say("SUBSCRIBE", {"id": "1", "destination": "/topic/orders/nobody", "receipt": "r"})
    client.fails(404, 4205, receipt="r")


@case("subscribe: to another's order is the same ERROR")
def _(world):
    order = world.order()
    client = Client(world, role="customer", sub="somebody-else")
    client.say("SUBSCRIBE", {"id": "1", "destination": f"/topic/orders/{order.id}"})
    client.fails(404, 4205)


@case("subscribe: to what the role may not is an ERROR")
def _(world):
    client = Client(world, role="customer", sub="u0")
    client.say("SUBSCRIBE", {"id": "1", "destination": "/topic/cell"})
    client.fails(403, 4205)


@case("subscribe: an unknown ack mode is an ERROR")
def _(world):
    client = Client(world)
    client.say("SUBSCRIBE", {"id": "1", "destination": "/topic/cell", "ack": "maybe"})
    client.fails(400, 4205, "ack")


@case("subscribe: unknown headers are no matter")
def _(world):
    client = Client(world)
    client.subscribe("/topic/heartbeat", "s", selector="a = 1", durable="true")


@each("unsubscribe: nothing comes after its receipt")
def _(world, version):
    order = world.order()
    client = Client(world, version)
    client.subscribe(f"/topic/orders/{order.id}")
    client.message("s")
    client.say("UNSUBSCRIBE", {"id": "s", "receipt": "u"})
    client.receipt("u")
    world.does(f"/v1/orders/{order.id}/pay")
    client.quiet()


@case("unsubscribe: the other one to the destination goes on")
def _(world):
    order = world.order()
    client = Client(world)
    for name in ("a", "b"):
        client.subscribe(f"/topic/orders/{order.id}", name)
        client.message(name)
    client.say("UNSUBSCRIBE", {"id": "a", "receipt": "u"})
    client.receipt("u")
    world.does(f"/v1/orders/{order.id}/pay")
    equal(client.expect("MESSAGE").headers["subscription"], "b")


@each("unsubscribe: of nothing is an ERROR")
def _(world, version):
    client = Client(world, version)
    client.say("UNSUBSCRIBE", {"id": "nothing", "receipt": "u"})
    client.fails(400, 4205, "id", "u")


@case("unsubscribe: its id is free again")
def _(world):
    order = world.order()
    client = Client(world)
    for _ in range(3):
        client.subscribe(f"/topic/orders/{order.id}")
        client.message("s")
        client.say("UNSUBSCRIBE", {"id": "s"})


@case("resume: whole bodies that are the newest don't come again")
def _(world):
    order = world.order()
    client = Client(world)
    client.subscribe(f"/topic/orders/{order.id}")
    at = client.message("s").headers
    again = Client(world)
    how = again.subscribe(f"/topic/orders/{order.id}", "s", version=at["version"], epoch=at["epoch"])
    equal(how.headers["recovery"], "resumed")
    again.quiet(0.5)
    world.does(f"/v1/orders/{order.id}/pay")
    message = again.message("s")
    equal((message.json()["status"], message.headers["recovery"]), (2, "resumed"))


@case("resume: missed deltas come")
def _(world):
    order = world.order()
    client = Client(world)
    client.subscribe(f"/topic/orders/{order.id}/delta")
    at = client.message("s").headers
    world.does(f"/v1/orders/{order.id}/pay")
    client.message("s")
    again = Client(world)
    how = again.subscribe(f"/topic/orders/{order.id}/delta", "s", version=at["version"], epoch=at["epoch"])
    message = again.message("s")
    equal((message.json()["type"], message.json()["from"]), ("delta", int(at["version"])))
    for said in (how.headers, message.headers):
        equal((said["recovery"], said["missed"]), ("resumed", "1"))


@case("resume: of another epoch is a reset")
def _(world):
    order = world.order()
    client = Client(world)
    how = client.subscribe(f"/topic/orders/{order.id}/delta", "s", version="1", epoch="987654")
    message = client.message("s")
    equal((how.headers["recovery"], message.headers["recovery"], message.json()["type"]), ("reset", "reset", "snapshot"))


for headers, field in (({"version": "1"}, "epoch"), ({"epoch": "1"}, "version"), ({"version": "x", "epoch": "1"}, "version")):

    @case(f"resume: with {headers} is an ERROR", headers, field)
    def _(world, headers, field):
        order = world.order()
        client = Client(world)
        client.say("SUBSCRIBE", {"id": "1", "destination": f"/topic/orders/{order.id}", **headers})
        client.fails(400, 4205, field)


@case("subscription that ends: who listens for errors is told, and the connection stays")
def _(world):
    order = world.order("delivering")
    client = Client(world, role="rider", sub=order.rider)
    client.subscribe("/user/queue/errors", "e")
    client.subscribe(f"/topic/orders/{order.id}", "o")
    client.message("o")
    world.does(f"/v1/orders/{order.id}/assign", {"rider": "another"})
    told = client.message("e")
    equal((told.headers["ended"], told.json()["type"]), ("o", "withdrawn"))
    client.say("BEGIN", {"transaction": "t", "receipt": "there"})
    client.receipt("there")


@case("subscription that ends: else it is an ERROR")
def _(world):
    order = world.order("delivering")
    client = Client(world, role="rider", sub=order.rider)
    client.subscribe(f"/topic/orders/{order.id}", "o")
    client.message("o")
    world.does(f"/v1/orders/{order.id}/assign", {"rider": "another"})
    equal(client.fails(403, 4205).json()["type"], "withdrawn")


# --- Acknowledgements ---


def acknowledger(world, version, ack, count=2):
    """A client with so many messages of the heartbeats to acknowledge, and their names."""
    client = Client(world, version)
    client.subscribe("/topic/heartbeat", "h", ack=ack)
    messages = [client.message("h").headers for _ in range(count)]
    return client, [headers["ack" if version == "1.2" else "message-id"] for headers in messages]


def acknowledge(client, name, receipt=None, command="ACK", **more):
    header = {"1.0": {"message-id": name}, "1.1": {"message-id": name, "subscription": "h"}, "1.2": {"id": name}}
    headers = {**header[client.version], **({"receipt": receipt} if receipt else {}), **more}
    client.say(command, headers)


@each("ack: each by itself")
def _(world, version):
    client, names = acknowledger(world, version, "client-individual")
    for receipt, name in (("2", names[1]), ("1", names[0])):
        acknowledge(client, name, receipt)
        client.receipt(receipt)


@each("ack: of client mode is for all before it")
def _(world, version):
    client, names = acknowledger(world, version, "client")
    acknowledge(client, names[1], "2")
    client.receipt("2")
    acknowledge(client, names[0], "1")
    client.fails(400, 4205, receipt="1")


@each("ack: twice is an ERROR")
def _(world, version):
    client, names = acknowledger(world, version, "client-individual", 1)
    acknowledge(client, names[0], "1")
    client.receipt("1")
    acknowledge(client, names[0], "2")
    client.fails(400, 4205, receipt="2")


@each("ack: of what was never delivered is an ERROR")
def _(world, version):
    client = Client(world, version)
    acknowledge(client, "4711", "r")
    client.fails(400, 4205, "id" if version == "1.2" else "message-id", "r")


@case("ack: of a subscription that acknowledges by itself is an ERROR")
def _(world):
    client = Client(world, "1.1")
    client.subscribe("/topic/heartbeat", "h")
    acknowledge(client, client.message("h").headers["message-id"])
    client.fails(400, 4205, "message-id")


@each("ack: without its header is an ERROR")
def _(world, version):
    client = Client(world, version)
    client.say("ACK", {"receipt": "r"})
    client.fails(400, 4205, "id" if version == "1.2" else "message-id", "r")


@case("ack: 1.1 names the subscription, and none is an ERROR")
def _(world):
    client, names = acknowledger(world, "1.1", "client", 1)
    client.say("ACK", {"message-id": names[0]})
    client.fails(400, 4205, "subscription")


@case("ack: 1.1 names the subscription, and another's is an ERROR")
def _(world):
    client, names = acknowledger(world, "1.1", "client", 1)
    client.say("ACK", {"message-id": names[0], "subscription": "other"})
    client.fails(400, 4205, "message-id")


@each("nack: counts like an ack", LATER)
def _(world, version):
    client, names = acknowledger(world, version, "client-individual", 1)
    acknowledge(client, names[0], "n", "NACK")
    client.receipt("n")


@case("nack: 1.0 has none")
def _(world):
    client = Client(world, "1.0")
    client.say("NACK", {"message-id": "1"})
    client.fails(400, 4201, "frame")


# --- What is sent ---


def rider_of(world, version="1.2", upto="delivering"):
    order = world.order(upto)
    return order, Client(world, version, "rider", order.rider)


@each("send: a rider's body becomes a fix that followers see")
def _(world, version):
    order, rider = rider_of(world, version)
    watcher = Client(world, version)
    watcher.subscribe(f"/topic/orders/{order.id}")
    watcher.message("s")
    body = {"orderId": order.id, "status": 3, "statusText": "配送中", "longitude": 121.4321, "latitude": 31.2034, "address": None,
            "operatorId": order.rider, "operatorType": 1, "createTime": None, "eta": None, "version": 3}
    rider.say("SEND", {"destination": "/app/tracking", "content-type": "application/json", "receipt": "f"}, json.dumps(body))
    equal(rider.receipt("f").headers["kept"], "1")
    while True:
        seen = watcher.message("s").json()
        if (seen["longitude"], seen["latitude"]) == (121.4321, 31.2034):
            return equal((seen["operatorId"], seen["operatorType"]), (order.rider, 1))


@case("send: a rider's body in the datum of the connection")
def _(world):
    order = world.order("delivering")
    rider = Client(world, role="rider", sub=order.rider, path="/ws/websocket?datum=gcj02")
    body = json.dumps({"orderId": order.id, "longitude": 121.531542, "latitude": 31.175304})
    rider.say("SEND", {"destination": "/app/tracking", "receipt": "f"}, body)
    rider.receipt("f")
    watcher = Client(world)
    watcher.subscribe(f"/topic/orders/{order.id}")
    seen = watcher.message("s").json()
    check(abs(seen["latitude"] - 31.1774276) < 1e-4 and abs(seen["longitude"] - 121.5272106) < 1e-4, f"{seen}")


@case("send: a body's length is counted in bytes")
def _(world):
    order, rider = rider_of(world)
    body = json.dumps({"orderId": order.id, "longitude": 121.4, "latitude": 31.2, "statusText": "配送中"}, ensure_ascii=False)
    headers = {"destination": "/app/tracking", "content-length": len(body.encode()), "receipt": "f"}
    rider.say("SEND", headers, body)
    rider.receipt("f")


@each("send: a warehouse's body becomes a stage")
def _(world, version):
    order = world.order("paid")
    client = Client(world, version, "warehouse", order.warehouse)
    client.say("SEND", {"destination": "/app/tracking", "receipt": "1"}, json.dumps({"orderId": order.id, "stage": "picking"}))
    client.receipt("1")
    equal(world.call("GET", f"/v1/orders/{order.id}")[1]["state"]["stage"], "picking")
    client.say("SEND", {"destination": "/app/tracking", "receipt": "2"}, json.dumps({"orderId": order.id, "status": 2}))
    client.receipt("2")
    equal(world.call("GET", f"/v1/orders/{order.id}")[1]["state"]["stage"], "picking", "a status takes nothing back")


REFUSED = (
    ("no JSON", "{", "payload", 400),
    ("no order", json.dumps({"longitude": 1, "latitude": 1}), "orderId", 400),
    ("no latitude", json.dumps({"orderId": "o0", "longitude": 1}), "latitude", 400),
    ("a misspelt member", json.dumps({"orderId": "o0", "longitud": 1}), "longitud", 400),
    ("an order of nobody's", json.dumps({"orderId": "nobody", "longitude": 1, "latitude": 1}), "order", 404),
    ("a delivery", json.dumps({"orderId": "o0", "longitude": 1, "latitude": 1, "status": 4}), "status", 400),
    ("another rider", json.dumps({"orderId": "o0", "longitude": 1, "latitude": 1, "operatorId": "x"}), "role", 403),
    ("no body", "", "payload", 400),
)
for what, body, field, status in REFUSED:

    @case(f"send: a report with {what} is refused with a message", body, field, status)
    def _(world, body, field, status):
        rider = Client(world, role="rider", sub="r0")
        rider.subscribe("/user/queue/errors", "e")
        rider.say("SEND", {"destination": "/app/tracking", "receipt": "f"}, body)
        told = rider.message("e")
        equal((told.headers["receipt-id"], told.headers["refused"]), ("f", "/app/tracking"))
        equal((told.headers["content-type"], told.headers["destination"]), ("application/problem+json", "/user/queue/errors"))
        equal(told.json()["status"], status)
        check(field in (told.json()["field"], "role") or told.json()["field"] == "operatorId", f"field of {told.json()}")
        rider.say("BEGIN", {"transaction": "t", "receipt": "there"})
        rider.receipt("there")


@each("send: what is refused is an ERROR to who doesn't listen")
def _(world, version):
    client = Client(world, version, "rider", "r0")
    client.say("SEND", {"destination": "/app/tracking", "receipt": "f"}, "{}")
    client.fails(400, 4205, "orderId", "f")


@case("send: a report of another's order is refused")
def _(world):
    order = world.order("delivering")
    client = Client(world, role="rider", sub="r0")
    body = json.dumps({"orderId": order.id, "longitude": 121.4, "latitude": 31.2})
    client.say("SEND", {"destination": "/app/tracking", "receipt": "f"}, body)
    client.fails(404, 4205, receipt="f")


@each("send: a command to an order, whose receipt tells how it stands")
def _(world, version):
    order = world.order()
    client = Client(world, version)
    destination = f"/app/orders/{order.id}/pay"
    client.say("SEND", {"destination": destination, "Idempotency-Key": "k1", "receipt": "p"})
    receipt = client.receipt("p").headers
    equal((receipt["status"], receipt["rev"]), ("2", "2"))
    equal(world.call("GET", f"/v1/orders/{order.id}")[1]["version"], int(receipt["version"]))


@case("send: a command that is repeated takes effect once")
def _(world):
    order = world.order()
    client = Client(world)
    headers = {"destination": f"/app/orders/{order.id}/pay", "idempotency-key": "k1"}
    answers = []
    for receipt in ("1", "2"):
        client.say("SEND", {**headers, "receipt": receipt})
        answers.append(client.receipt(receipt).headers["version"])
    equal(answers[0], answers[1])


@case("send: a command without a key is refused")
def _(world):
    order = world.order()
    client = Client(world)
    client.say("SEND", {"destination": f"/app/orders/{order.id}/pay", "receipt": "p"})
    client.fails(400, 4205, "Idempotency-Key", "p")
    equal(world.call("GET", f"/v1/orders/{order.id}")[1]["state"]["status"], 1)


@case("send: a command at another rev is refused")
def _(world):
    order = world.order()
    client = Client(world)
    headers = {"destination": f"/app/orders/{order.id}/pay", "Idempotency-Key": "k", "if-match": '"9"', "receipt": "p"}
    client.say("SEND", headers)
    equal(client.fails(409, 4205, receipt="p").json()["type"], "rev_conflict")


@case("send: a command that the status forbids is refused with what would be allowed")
def _(world):
    order = world.order()
    client = Client(world)
    client.say("SEND", {"destination": f"/app/orders/{order.id}/deliver", "Idempotency-Key": "k", "receipt": "p"})
    problem = client.fails(409, 4205, receipt="p").json()
    check("pay" in problem["allowed"], f"{problem}")


@case("send: a command that the role may not give is refused")
def _(world):
    order = world.order()
    client = Client(world, role="customer", sub=order.user)
    client.say("SEND", {"destination": f"/app/orders/{order.id}/cancel", "Idempotency-Key": "k", "receipt": "p"})
    client.fails(403, 4205, receipt="p")


@case("send: an unknown verb is refused")
def _(world):
    client = Client(world)
    client.say("SEND", {"destination": "/app/orders/o0/sing", "Idempotency-Key": "k"})
    client.fails(404, 4205, "verb")


@case("send: commands take effect in their order, without waiting for receipts")
def _(world):
    order = world.order()
    client = Client(world)
    base = f"/app/orders/{order.id}/"
    client.say("SEND", {"destination": base + "pay", "Idempotency-Key": "1", "receipt": "1"})
    client.say("SEND", {"destination": base + "assign", "Idempotency-Key": "2", "receipt": "2"}, json.dumps({"rider": order.rider}))
    client.say("SEND", {"destination": base + "unassign", "Idempotency-Key": "3", "receipt": "3"})
    equal([client.expect("RECEIPT").headers["receipt-id"] for _ in range(3)], ["1", "2", "3"])


@each("send: without a destination it is an ERROR")
def _(world, version):
    client = Client(world, version)
    client.say("SEND", {"receipt": "r"}, "x")
    client.fails(400, 4205, "destination", "r")


for odd in ("/topic/orders/o1", "/app", "/app/nothing", "/app/orders/o1"):

    @case(f"send: to {odd} is an ERROR", odd)
    def _(world, odd):
        client = Client(world)
        client.subscribe("/user/queue/errors", "e")
        client.say("SEND", {"destination": odd}, "{}")
        client.fails(400, 4205, "destination")


# --- Transactions ---


@each("transaction: what is sent in it is done at its commit")
def _(world, version):
    order = world.order()
    client = Client(world, version)
    client.say("BEGIN", {"transaction": "t", "receipt": "b"})
    client.receipt("b")
    base = {"destination": f"/app/orders/{order.id}/pay", "Idempotency-Key": "k"}
    client.say("SEND", {**base, "transaction": "t", "receipt": "s"})
    client.quiet(0.5)
    equal(world.call("GET", f"/v1/orders/{order.id}")[1]["state"]["status"], 1)
    client.say("COMMIT", {"transaction": "t", "receipt": "c"})
    equal([client.expect("RECEIPT").headers["receipt-id"] for _ in range(2)], ["s", "c"])
    equal(world.call("GET", f"/v1/orders/{order.id}")[1]["state"]["status"], 2)


@each("transaction: what is aborted is never done")
def _(world, version):
    order = world.order()
    client = Client(world, version)
    client.say("BEGIN", {"transaction": "t"})
    client.say("SEND", {"destination": f"/app/orders/{order.id}/pay", "Idempotency-Key": "k", "transaction": "t"})
    client.say("ABORT", {"transaction": "t", "receipt": "a"})
    client.receipt("a")
    client.quiet(0.3)
    equal(world.call("GET", f"/v1/orders/{order.id}")[1]["state"]["status"], 1)
    client.say("COMMIT", {"transaction": "t"})
    client.fails(400, 4205, "transaction")


@case("transaction: the first that is refused ends it")
def _(world):
    order = world.order()
    client = Client(world)
    client.subscribe("/user/queue/errors", "e")
    base = f"/app/orders/{order.id}/"
    client.say("BEGIN", {"transaction": "t"})
    client.say("SEND", {"destination": base + "unassign", "Idempotency-Key": "1", "transaction": "t", "receipt": "u"})
    client.say("SEND", {"destination": base + "pay", "Idempotency-Key": "2", "transaction": "t", "receipt": "p"})
    client.say("COMMIT", {"transaction": "t", "receipt": "c"})
    told = client.message("e")
    equal((told.headers["receipt-id"], told.headers["transaction"]), ("u", "t"))
    client.quiet(0.5)
    equal(world.call("GET", f"/v1/orders/{order.id}")[1]["state"]["status"], 1)


@case("transaction: acknowledgements wait for it as well")
def _(world):
    client, names = acknowledger(world, "1.2", "client-individual", 1)
    client.say("BEGIN", {"transaction": "t"})
    acknowledge(client, names[0], "a", transaction="t")
    client.say("COMMIT", {"transaction": "t", "receipt": "c"})
    client.receipt("a")
    client.receipt("c")


for what, frames in (
    ("begun twice", [("BEGIN", {"transaction": "t"}), ("BEGIN", {"transaction": "t"})]),
    ("committed without a begin", [("COMMIT", {"transaction": "t"})]),
    ("aborted without a begin", [("ABORT", {"transaction": "t"})]),
    ("without a name", [("BEGIN", {})]),
    ("used without a begin", [("SEND", {"destination": "/app/tracking", "transaction": "t"})]),
):

    @case(f"transaction: {what} is an ERROR", frames)
    def _(world, frames):
        client = Client(world)
        for command, headers in frames:
            client.say(command, headers)
        client.fails(400, 4205, "transaction")


@case("transaction: more than 16 at once are an ERROR")
def _(world):
    client = Client(world)
    for n in range(17):
        client.say("BEGIN", {"transaction": f"t{n}"})
    client.fails(429, 4100, "transaction")


# --- Frames as text ---


@each("frames: byte by byte")
def _(world, version):
    client = Client(world, version, connect=False)
    text = frame("CONNECT", [("accept-version", version), ("Authorization", client.bearer())])
    for byte in text:
        client.text(byte)
    client.expect("CONNECTED")
    for byte in frame("SUBSCRIBE", {"id": "1", "destination": "/topic/heartbeat", "receipt": "r"}):
        client.text(byte)
    client.receipt("r")


@each("frames: several in one message, with ends of line between and after")
def _(world, version):
    client = Client(world, version)
    client.text(
        "\n" + frame("BEGIN", {"transaction": "a", "receipt": "1"}) + "\n\n" + frame("ABORT", {"transaction": "a", "receipt": "2"})
        + frame("BEGIN", {"transaction": "b", "receipt": "3"}) + "\n\n\n"
    )
    equal([client.expect("RECEIPT").headers["receipt-id"] for _ in range(3)], ["1", "2", "3"])


@case("frames: one over several messages of 8 KiB")
def _(world):
    order, rider = rider_of(world)
    body = json.dumps({"orderId": order.id, "longitude": 121.4, "latitude": 31.2, "address": "x" * 40_000})
    text = frame("SEND", {"destination": "/app/tracking", "receipt": "f"}, body)
    for at in range(0, len(text), 8192):
        rider.text(text[at:at + 8192])
    rider.receipt("f")


@case("frames: one over several WebSocket frames of a message")
def _(world):
    client = Client(world)
    text = frame("BEGIN", {"transaction": "t", "receipt": "r"})
    client.ws.send(text[:9], websocket.TEXT, last=False)
    client.ws.send(text[9:20], 0, last=False)
    client.ws.send(text[20:], 0)
    client.receipt("r")


@each("frames: lines that end in CR LF")
def _(world, version):
    client = Client(world, version)
    client.text("BEGIN\r\ntransaction:t\r\nreceipt:r\r\n\r\n\0\r\n")
    client.receipt("r")


@each("frames: of repeated headers the first counts")
def _(world, version):
    client = Client(world, version)
    client.say("BEGIN", [("transaction", "t"), ("receipt", "first"), ("receipt", "second")])
    client.receipt("first")


@each("escapes: colon, line feed and backslash go both ways", LATER)
def _(world, version):
    client = Client(world, version)
    client.say("BEGIN", {"transaction": "t", "receipt": "a\\cb\\nc\\\\d"})
    receipt = client.expect("RECEIPT")
    equal(receipt.headers["receipt-id"], "a:b\nc\\d")
    equal(receipt.raw[0], "receipt-id:a\\cb\\nc\\\\d")


@case("escapes: 1.2 has the carriage return")
def _(world):
    client = Client(world)
    client.say("BEGIN", {"transaction": "t", "receipt": "a\\rb"})
    equal(client.expect("RECEIPT").raw[0], "receipt-id:a\\rb")


@case("escapes: 1.1 hasn't, and it is an ERROR")
def _(world):
    client = Client(world, "1.1")
    client.say("BEGIN", {"transaction": "t", "receipt": "a\\rb"})
    client.fails(400, 4201, "frame")


@case("escapes: a carriage return that isn't escaped is an ERROR in 1.2")
def _(world):
    client = Client(world)
    client.say("BEGIN", {"transaction": "t", "receipt": "a\rb"})
    client.fails(400, 4201, "frame")


for escape in ("\\t", "\\", "\\C", "\\0"):

    @each(f"escapes: {escape} is an ERROR", LATER)
    def _(world, version, escape=escape):
        client = Client(world, version)
        client.say("BEGIN", {"transaction": "t", "receipt": escape})
        client.fails(400, 4201, "frame")


@case("escapes: 1.0 has none")
def _(world):
    client = Client(world, "1.0")
    client.say("BEGIN", {"transaction": "t", "receipt": "a\\cb\\t"})
    equal(client.expect("RECEIPT").raw[0], "receipt-id:a\\cb\\t")


@case("escapes: 1.0 takes padding off")
def _(world):
    client = Client(world, "1.0")
    client.text("BEGIN\ntransaction: t \nreceipt: padded \n\n\0")
    client.receipt("padded")


@each("escapes: 1.1 and 1.2 don't", LATER)
def _(world, version):
    client = Client(world, version)
    client.text("BEGIN\ntransaction:t\nreceipt: padded \n\n\0")
    client.receipt(" padded ")


@each("headers: a value may have colons of its own")
def _(world, version):
    client = Client(world, version)
    client.say("BEGIN", {"transaction": "t", "receipt": "a:b:c"})
    client.receipt("a:b:c")


@each("headers: are UTF-8")
def _(world, version):
    client = Client(world, version)
    client.subscribe("/topic/heartbeat", "订阅😀")
    client.message("订阅😀")


for what, text in (
    ("a header without a colon", "BEGIN\ntransaction\n\n\0"),
    ("a header without a name", "BEGIN\n:t\n\n\0"),
    ("an unknown command", "SING\na:b\n\n\0"),
    ("a command in small letters", "begin\ntransaction:t\n\n\0"),
    ("a command of the server's", "MESSAGE\nsubscription:s\nmessage-id:1\n\n\0"),
    ("a NUL in a head", "BEGIN\ntrans\0action:t\n\n\0"),
    ("a NUL between frames", "\0"),
    ("a content-length that is no number", "SEND\ndestination:/app/tracking\ncontent-length:x\n\n{}\0"),
    ("a negative content-length", "SEND\ndestination:/app/tracking\ncontent-length:-1\n\n{}\0"),
    ("a content-length that is too small", "SEND\ndestination:/app/tracking\ncontent-length:1\n\n{}\0"),
    ("a body where there is none", "BEGIN\ntransaction:t\n\nbody\0"),
):

    @case(f"frames: {what} is an ERROR", text)
    def _(world, text):
        client = Client(world)
        client.text(text)
        client.fails(400, 4201, "frame")


@case("frames: a NUL within a body whose length is said is part of it")
def _(world):
    client = Client(world)
    client.subscribe("/user/queue/errors", "e")
    client.text("SEND\ndestination:/app/tracking\ncontent-length:3\nreceipt:n\n\n{\0}\0" + frame("BEGIN", {"transaction": "t", "receipt": "r"}))
    found = {one.command: one for one in (client.next(), client.next())}
    equal(set(found), {"MESSAGE", "RECEIPT"})
    equal((found["MESSAGE"].json()["field"], found["RECEIPT"].headers["receipt-id"]), ("payload", "r"))


@case("frames: a content-length of 0 and one on a frame without a body are fine")
def _(world):
    client = Client(world)
    client.say("BEGIN", {"transaction": "t", "content-length": "0", "receipt": "r"})
    client.receipt("r")


@case("frames: a binary message is an ERROR")
def _(world):
    client = Client(world)
    client.ws.send(frame("BEGIN", {"transaction": "t"}), websocket.BINARY)
    client.fails(400, 4205)


@case("frames: text that isn't UTF-8 ends the connection")
def _(world):
    client = Client(world)
    client.ws.send(b"BEGIN\ntransaction:\xff\n\n\0")
    equal(client.ends(), 1007)


# --- Limits ---


for what, headers in (
    ("a long line", {"a": "x" * 10_000}),
    ("many headers", {f"h{n}": "x" for n in range(51)}),
    ("a long head", {f"h{n}": "x" * 1_000 for n in range(17)}),
):

    @case(f"limits: {what} is an ERROR", headers)
    def _(world, headers):
        client = Client(world)
        client.say("BEGIN", {"transaction": "t", **headers})
        client.fails(413, 4200, "frame")


for what, text in (
    ("many headers", frame("CONNECT", {f"h{n}": "x" for n in range(21)})),
    ("a long head", frame("CONNECT", {f"h{n}": "x" * 1_000 for n in range(13)})),
    ("a body", frame("CONNECT", {"accept-version": "1.2"}, "body")),
    ("a line without an end", "C" * 10_000),
):

    @case(f"limits: before CONNECTED they are small: {what}", text)
    def _(world, text):
        client = Client(world, connect=False)
        client.text(text)
        client.fails(413, 4200, "frame")


@case("limits: a body of more than 64 KiB is an ERROR as soon as its length is said")
def _(world):
    client = Client(world)
    client.text("SEND\ndestination:/app/tracking\ncontent-length:65537\n\n")
    client.fails(413, 4200, "frame")


@case("limits: a body without a length is an ERROR when it grows beyond 64 KiB")
def _(world):
    client = Client(world)
    client.text("SEND\ndestination:/app/tracking\n\n")
    for _ in range(9):
        client.text("x" * 8_000)
    client.fails(413, 4200, "frame")


@case("limits: a message of more than 64 KiB is too large")
def _(world):
    client = Client(world)
    client.text("\n" * 70_000)
    client.fails(413, 4200)


@case("limits: a long id is an ERROR")
def _(world):
    client = Client(world)
    client.say("SUBSCRIBE", {"id": "x" * 257, "destination": "/topic/cell"})
    client.fails(400, 4205, "id")


@case("limits: commands that wait are bounded")
def _(world):
    client = Client(world)
    client.say("BEGIN", {"transaction": "t"})
    for n in range(257):
        client.say("SEND", {"destination": "/app/tracking", "transaction": "t"}, "{}")
    client.fails(429, 4100, "frame")


# --- The end ---


@each("disconnect: the receipt comes, then the close")
def _(world, version):
    client = Client(world, version)
    client.say("DISCONNECT", {"receipt": "bye"})
    client.receipt("bye")
    client.ends(1000)


@each("disconnect: without a receipt it closes")
def _(world, version):
    client = Client(world, version)
    client.say("DISCONNECT")
    client.ends(1000)


@case("disconnect: what was sent before is done before its receipt")
def _(world):
    order = world.order()
    client = Client(world)
    client.text(
        frame("SEND", {"destination": f"/app/orders/{order.id}/pay", "Idempotency-Key": "k"})
        + frame("DISCONNECT", {"receipt": "bye"})
    )
    client.receipt("bye", 10)
    equal(world.call("GET", f"/v1/orders/{order.id}")[1]["state"]["status"], 2)
    client.ends(1000)


@each("error: after it nothing is read any more")
def _(world, version):
    order = world.order()
    client = Client(world, version)
    client.text("SING\n\n\0" + frame("SEND", {"destination": f"/app/orders/{order.id}/pay", "Idempotency-Key": "k"}))
    client.fails(400, 4201)
    time.sleep(0.5)
    equal(world.call("GET", f"/v1/orders/{order.id}")[1]["state"]["status"], 1)


@each("receipts: each frame that asks gets one")
def _(world, version):
    client = Client(world, version)
    client.subscribe("/topic/heartbeat", "h")
    client.say("UNSUBSCRIBE", {"id": "h", "receipt": "1"})
    client.say("BEGIN", {"transaction": "t", "receipt": "2"})
    client.say("COMMIT", {"transaction": "t", "receipt": "3"})
    equal([client.expect("RECEIPT").headers["receipt-id"] for _ in range(3)], ["1", "2", "3"])


if __name__ == "__main__":
    sys.exit(run("STOMP"))
