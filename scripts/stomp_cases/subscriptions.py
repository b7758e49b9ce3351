"""SUBSCRIBE and UNSUBSCRIBE: what comes, in which shape, and what is refused."""

import time

from conformance import case, check, equal
from rig import Failed
from stomp_client import LATER, Client, each, following

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
    order, client, first = following(world, version, role="customer")
    world.pay(order)
    message = client.message("s")
    body = message.json()
    equal((set(body), body["status"], body["statusText"]), (WHOLE, 2, "仓库处理中"))
    check(body["version"] > first.json()["version"], "no higher version")
    check("recovery" not in message.headers, "it doesn't begin twice")


@each("subscribe: deltas for those that merge")
def _(world, version):
    order, client, first = following(world, version, "/delta", role="customer")
    equal((first.json()["type"], first.json()["state"]["status"]), ("snapshot", 1))
    world.pay(order)
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
    world.pay(order)
    got = {}
    while len(got) < 2:
        message = client.expect("MESSAGE")
        got[message.headers["subscription"]] = message
    equal({name: message.json()["status"] for name, message in got.items()}, {"a": 2, "b": 2})
    equal(len({message.headers["message-id"] for message in got.values()}), 2, "message-ids")


@each("subscribe: whole bodies and deltas beside each other")
def _(world, version):
    order, client, _ = following(world, version, name="w")
    client.subscribe(f"/topic/orders/{order.id}/delta", "d")
    equal(client.message("d").json()["type"], "snapshot")
    world.pay(order)
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
    world.pay(order)
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
    order, client, _ = following(world, version)
    client.say("UNSUBSCRIBE", {"id": "s", "receipt": "u"})
    client.receipt("u")
    world.pay(order)
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
    world.pay(order)
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
