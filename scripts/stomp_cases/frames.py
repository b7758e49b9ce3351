"""Frames as text: splits, ends of line, escapes, and what is no frame."""

import json

import websocket
from conformance import case, equal
from stomp_client import LATER, Client, bearer, each, frame, rider_of


@each("frames: byte by byte")
def _(world, version):
    client = Client(world, version, connect=False)
    text = frame("CONNECT", [("accept-version", version), ("Authorization", bearer(world))])
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
    equal(client.receipts(3), ["1", "2", "3"])


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
