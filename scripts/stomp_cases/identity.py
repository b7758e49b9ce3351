"""Who it is: tokens of the CONNECT and of the upgrade, newer ones, and their end."""

import time

import websocket
from conformance import case, equal
from rig import Failed
from stomp_client import Client, bearer, handshake

for header, prefix in (("Authorization", "Bearer "), ("authorization", "bearer "), ("token", ""), ("passcode", "")):

    @case(f"token: in the header {header}", header, prefix)
    def _(world, header, prefix):
        token = world.token("customer", "u0")
        handshake(world, ("accept-version", "1.2"), ("login", "x"), (header, prefix + token)).expect("CONNECTED")


@case("token: none is an ERROR")
def _(world):
    handshake(world, ("accept-version", "1.2"), ("host", "x")).fails(401, 4203, "token")


@case("token: a bad one is an ERROR")
def _(world):
    token = world.token("operations", "alice")[:-3]
    handshake(world, ("accept-version", "1.2"), ("token", token)).fails(401, 4203, "token")


@case("token: another scheme is an ERROR")
def _(world):
    handshake(world, ("accept-version", "1.2"), ("Authorization", "Basic YTpi")).fails(400, 4205, "Authorization")


@case("token: of the upgrade's header, and a passcode beside it isn't looked at")
def _(world):
    said = ("accept-version", "1.1"), ("login", "guest"), ("passcode", "guest")
    client = handshake(world, *said, headers=[("Authorization", bearer(world))])
    equal(client.expect("CONNECTED").headers["version"], "1.1")


@case("token: of a cookie, from a page of this server")
def _(world):
    cookie = "trunkline_token=" + world.token("customer", "u0")
    headers = [("Cookie", cookie), ("Origin", f"http://127.0.0.1:{world.port}")]
    handshake(world, ("accept-version", "1.2"), headers=headers).expect("CONNECTED")


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
    said = ("accept-version", "1.2"), ("token", world.token("customer", "u0"))
    handshake(world, *said, headers=[("Authorization", bearer(world))]).fails(401, 4203, "token")


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
    client = handshake(world, ("accept-version", "1.2"), ("token", world.token("operations", "brief", "2s")))
    client.expect("CONNECTED")
    client.subscribe("/user/queue/errors", "e")
    equal(client.message("e", 5).json()["type"], "expired")
    client.fails(401, 4202, "token")
