"""How a subscription resumes where an earlier one was, and how one ends that nobody left."""

from conformance import case, equal
from stomp_client import Client, following


@case("resume: whole bodies that are the newest don't come again")
def _(world):
    order, _, first = following(world)
    at = first.headers
    again = Client(world)
    how = again.subscribe(f"/topic/orders/{order.id}", "s", version=at["version"], epoch=at["epoch"])
    equal(how.headers["recovery"], "resumed")
    again.quiet(0.5)
    world.pay(order)
    message = again.message("s")
    equal((message.json()["status"], message.headers["recovery"]), (2, "resumed"))


@case("resume: missed deltas come")
def _(world):
    order, client, first = following(world, rest="/delta")
    at = first.headers
    world.pay(order)
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
    order, client, _ = following(world, name="o", role="rider", upto="delivering")
    client.subscribe("/user/queue/errors", "e")
    world.does(f"/v1/orders/{order.id}/assign", {"rider": "another"})
    told = client.message("e")
    equal((told.headers["ended"], told.json()["type"]), ("o", "withdrawn"))
    client.stays()


@case("subscription that ends: else it is an ERROR")
def _(world):
    order, client, _ = following(world, name="o", role="rider", upto="delivering")
    world.does(f"/v1/orders/{order.id}/assign", {"rider": "another"})
    equal(client.fails(403, 4205).json()["type"], "withdrawn")
