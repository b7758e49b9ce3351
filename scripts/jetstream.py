"""What a JetStream stream says of itself, asked over NATS's own protocol and with nothing but the standard library."""

import json
import socket


def request(port, subject, body):
    """One request to the nats-server on this port of loopback; gives the answer's JSON."""
    payload = json.dumps(body).encode()
    with socket.create_connection(("127.0.0.1", port), 10) as connection, connection.makefile("rb") as lines:
        lines.readline()
        hello = b'CONNECT {"verbose":false,"headers":true}\r\nSUB _INBOX.asked 1\r\n'
        connection.sendall(hello + b"PUB %s _INBOX.asked %d\r\n%s\r\n" % (subject.encode(), len(payload), payload))
        for line in lines:
            words = line.split()
            if words[:1] == [b"PING"]:
                connection.sendall(b"PONG\r\n")
            elif words[:1] == [b"-ERR"]:
                raise OSError(line.decode().strip())
            elif words[:1] in ([b"MSG"], [b"HMSG"]):
                answer = lines.read(int(words[-1]))
                return json.loads(answer[answer.index(b"{"):])
    raise OSError("nats-server hung up")


def info(port, stream, body):
    answer = request(port, f"$JS.API.STREAM.INFO.{stream}", body)
    if "error" in answer:
        raise OSError(f"{stream}: {answer['error']['description']}")
    return answer


def last_seq(port, stream):
    """The stream's last sequence."""
    return info(port, stream, {})["state"]["last_seq"]


def subjects(port, stream, only):
    """How many messages each subject has, of those that `only` takes."""
    found = {}
    while True:
        answer = info(port, stream, {"subjects_filter": only, "offset": len(found)})
        page = answer["state"].get("subjects") or {}
        found.update(page)
        if not page or len(found) >= answer.get("total", 0):
            return found
