"""How large things may be, and how many."""

from conformance import case
from stomp_client import Client, frame

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
