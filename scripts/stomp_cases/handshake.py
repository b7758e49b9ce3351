"""CONNECT and its answer: versions, what may come with it, subprotocols."""

from conformance import case, check, equal
from stomp_client import NUL, Client, bearer, each, frame, handshake


@each("connect: a version alone is agreed upon")
def _(world, version):
    client = Client(world, version)
    equal(client.connected.headers["version"], version)
    check(client.connected.headers["session"], "no session")
    check(client.connected.headers["server"].startswith("trunkline/"), "no server")
    equal(client.connected.body, "")


@case("connect: without accept-version it is 1.0")
def _(world):
    client = handshake(world, ("Authorization", bearer(world)), version="1.0")
    equal(client.expect("CONNECTED").headers["version"], "1.0")


for offered, agreed in (("1.0,1.1,1.2", "1.2"), ("1.1,1.0", "1.1"), (" 1.0 , 1.1 ", "1.1"), ("1.2,2.7", "1.2"), ("9,1.0", "1.0")):

    @case(f"connect: of {offered!r} {agreed} is agreed upon", offered, agreed)
    def _(world, offered, agreed):
        equal(Client(world, offered).connected.headers["version"], agreed)


@case("connect: no common version is an ERROR that says which there are")
def _(world):
    client = handshake(world, ("accept-version", "2.0,3.1"), ("Authorization", bearer(world)), version="2.0")
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
    token = world.token("operations", "alice")
    handshake(world, ("accept-version", "1.2"), ("odd", "a\\tb:c\\"), ("token", token)).expect("CONNECTED")


@case("connect: of repeated headers the first counts")
def _(world):
    token = world.token("operations", "alice")
    client = handshake(world, ("accept-version", "1.1"), ("accept-version", "1.2"), ("token", token), ("token", "no"))
    equal(client.expect("CONNECTED").headers["version"], "1.1")


@case("connect: lines may end in CR LF, and ends of line may come first")
def _(world):
    client = Client(world, connect=False)
    client.text("\r\n\n" + frame("CONNECT", [("accept-version", "1.2"), ("Authorization", bearer(world))]).replace("\n", "\r\n"))
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
    client = Client(world, connect=False, headers=[("Authorization", bearer(world))])
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
        frame("CONNECT", [("accept-version", "1.2"), ("Authorization", bearer(world))])
        + frame("SUBSCRIBE", [("id", "a\\cb"), ("destination", f"/topic/orders/{order.id}")])
    )
    client.expect("CONNECTED")
    equal(client.message("a:b").json()["orderId"], order.id)


for wrong in ("", "1000", "1000,", "-1,0", "a,b", "1,2,3"):

    @case(f"connect: a heart-beat of {wrong!r} is an ERROR", wrong)
    def _(world, wrong):
        client = handshake(world, ("accept-version", "1.2"), ("heart-beat", wrong), ("Authorization", bearer(world)))
        client.fails(400, 4205, "heart-beat")


for offers, chosen in ((["v12.stomp"], "v12.stomp"), (["v10.stomp", "v11.stomp", "v12.stomp"], "v12.stomp"),
                       (["v10.stomp"], "v10.stomp"), ([], None)):

    @case(f"connect: of the subprotocols {offers} the answer is {chosen}", offers, chosen)
    def _(world, offers, chosen):
        equal(Client(world, protocols=offers).ws.protocol, chosen)


@case("connect: of subprotocols that aren't STOMP's none is taken")
def _(world):
    equal(Client(world, protocols=["mqtt"]).ws.protocol, None)
