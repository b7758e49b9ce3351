"""DISCONNECT, what comes after an ERROR, and receipts in general."""

import time

from conformance import case, equal
from stomp_client import Client, each, frame


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
    equal(world.read(order)["state"]["status"], 2)
    client.ends(1000)


@each("error: after it nothing is read any more")
def _(world, version):
    order = world.order()
    client = Client(world, version)
    client.text("SING\n\n\0" + frame("SEND", {"destination": f"/app/orders/{order.id}/pay", "Idempotency-Key": "k"}))
    client.fails(400, 4201)
    time.sleep(0.5)
    equal(world.read(order)["state"]["status"], 1)


@each("receipts: each frame that asks gets one")
def _(world, version):
    client = Client(world, version)
    client.subscribe("/topic/heartbeat", "h")
    client.say("UNSUBSCRIBE", {"id": "h", "receipt": "1"})
    client.say("BEGIN", {"transaction": "t", "receipt": "2"})
    client.say("COMMIT", {"transaction": "t", "receipt": "3"})
    equal(client.receipts(3), ["1", "2", "3"])
