"""ACK and NACK."""

from conformance import case
from stomp_client import LATER, Client, acknowledge, acknowledger, each


@each("ack: each by itself")
def _(world, version):
    client, names = acknowledger(world, version, "client-individual")
    for receipt, name in (("2", names[1]), ("1", names[0])):
        acknowledge(client, name, receipt)
        client.receipt(receipt)


@each("ack: of client mode is for all before it")
def _(world, version):
    client, names = acknowledger(world, version, "client")
    acknowledge(client, names[1], "2")
    client.receipt("2")
    acknowledge(client, names[0], "1")
    client.fails(400, 4205, receipt="1")


@each("ack: twice is an ERROR")
def _(world, version):
    client, names = acknowledger(world, version, "client-individual", 1)
    acknowledge(client, names[0], "1")
    client.receipt("1")
    acknowledge(client, names[0], "2")
    client.fails(400, 4205, receipt="2")


@each("ack: of what was never delivered is an ERROR")
def _(world, version):
    client = Client(world, version)
    acknowledge(client, "4711", "r")
    client.fails(400, 4205, "id" if version == "1.2" else "message-id", "r")


@case("ack: of a subscription that acknowledges by itself is an ERROR")
def _(world):
    client = Client(world, "1.1")
    client.subscribe("/topic/heartbeat", "h")
    acknowledge(client, client.message("h").headers["message-id"])
    client.fails(400, 4205, "message-id")


@each("ack: without its header is an ERROR")
def _(world, version):
    client = Client(world, version)
    client.say("ACK", {"receipt": "r"})
    client.fails(400, 4205, "id" if version == "1.2" else "message-id", "r")


@case("ack: 1.1 names the subscription, and none is an ERROR")
def _(world):
    client, names = acknowledger(world, "1.1", "client", 1)
    client.say("ACK", {"message-id": names[0]})
    client.fails(400, 4205, "subscription")


@case("ack: 1.1 names the subscription, and another's is an ERROR")
def _(world):
    client, names = acknowledger(world, "1.1", "client", 1)
    client.say("ACK", {"message-id": names[0], "subscription": "other"})
    client.fails(400, 4205, "message-id")


@each("nack: counts like an ack", LATER)
def _(world, version):
    client, names = acknowledger(world, version, "client-individual", 1)
    acknowledge(client, names[0], "n", "NACK")
    client.receipt("n")


@case("nack: 1.0 has none")
def _(world):
    client = Client(world, "1.0")
    client.say("NACK", {"message-id": "1"})
    client.fails(400, 4201, "frame")
