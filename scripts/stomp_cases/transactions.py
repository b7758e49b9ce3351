"""BEGIN, COMMIT and ABORT."""

from conformance import case, equal
from stomp_client import Client, acknowledge, acknowledger, each


@each("transaction: what is sent in it is done at its commit")
def _(world, version):
    order = world.order()
    client = Client(world, version)
    client.say("BEGIN", {"transaction": "t", "receipt": "b"})
    client.receipt("b")
    client.command(order, "pay", "k", transaction="t", receipt="s")
    client.quiet(0.5)
    equal(world.read(order)["state"]["status"], 1)
    client.say("COMMIT", {"transaction": "t", "receipt": "c"})
    equal(client.receipts(2), ["s", "c"])
    equal(world.read(order)["state"]["status"], 2)


@each("transaction: what is aborted is never done")
def _(world, version):
    order = world.order()
    client = Client(world, version)
    client.say("BEGIN", {"transaction": "t"})
    client.command(order, "pay", "k", transaction="t")
    client.say("ABORT", {"transaction": "t", "receipt": "a"})
    client.receipt("a")
    client.quiet(0.3)
    equal(world.read(order)["state"]["status"], 1)
    client.say("COMMIT", {"transaction": "t"})
    client.fails(400, 4205, "transaction")


@case("transaction: the first that is refused ends it")
def _(world):
    order = world.order()
    client = Client(world)
    client.subscribe("/user/queue/errors", "e")
    client.say("BEGIN", {"transaction": "t"})
    client.command(order, "unassign", "1", transaction="t", receipt="u")
    client.command(order, "pay", "2", transaction="t", receipt="p")
    client.say("COMMIT", {"transaction": "t", "receipt": "c"})
    told = client.message("e")
    equal((told.headers["receipt-id"], told.headers["transaction"]), ("u", "t"))
    client.quiet(0.5)
    equal(world.read(order)["state"]["status"], 1)


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
