"""SEND: reports and commands, and what is refused."""

import json

from conformance import case, check, equal
from stomp_client import Client, each, rider_of


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
    equal(world.read(order)["state"]["stage"], "picking")
    client.say("SEND", {"destination": "/app/tracking", "receipt": "2"}, json.dumps({"orderId": order.id, "status": 2}))
    client.receipt("2")
    equal(world.read(order)["state"]["stage"], "picking", "a status takes nothing back")


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
        rider.stays()


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
    client.command(order, "pay", "k1", receipt="p")
    receipt = client.receipt("p").headers
    equal((receipt["status"], receipt["rev"]), ("2", "2"))
    equal(world.read(order)["version"], int(receipt["version"]))


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
    equal(world.read(order)["state"]["status"], 1)


@case("send: a command at another rev is refused")
def _(world):
    order = world.order()
    client = Client(world)
    client.command(order, "pay", "k", receipt="p", if_match='"9"')
    equal(client.fails(409, 4205, receipt="p").json()["type"], "rev_conflict")


@case("send: a command that the status forbids is refused with what would be allowed")
def _(world):
    order = world.order()
    client = Client(world)
    client.command(order, "deliver", "k", receipt="p")
    problem = client.fails(409, 4205, receipt="p").json()
    check("pay" in problem["allowed"], f"{problem}")


@case("send: a command that the role may not give is refused")
def _(world):
    order = world.order()
    client = Client(world, role="customer", sub=order.user)
    client.command(order, "cancel", "k", receipt="p")
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
    client.command(order, "pay", "1", receipt="1")
    client.command(order, "assign", "2", json.dumps({"rider": order.rider}), receipt="2")
    client.command(order, "unassign", "3", receipt="3")
    equal(client.receipts(3), ["1", "2", "3"])


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
