"""Heart-beats, both ways."""

import time

from conformance import case, check, equal
from stomp_client import LATER, Client, each, frame


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
    client.stays()


@case("heart-beats: one that is missing is forgiven")
def _(world):
    client = beating(world, "1.2", "1000,0")
    for _ in range(2):
        client.quiet(2.2)
        client.text("\n")
    client.stays()


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
