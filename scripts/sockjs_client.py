"""What SockJS's cases need of HTTP and WebSocket, on raw sockets: every byte, header and connection as it comes."""

import json
import os
import socket
import struct
import uuid

from conformance import check, equal

PATIENCE_S = 8.0


class Connection:
    """One connection, for requests one after the other."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer, self.port = b"", port

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def more(self):
        """Reads on; whether there was something."""
        data = self.socket.recv(65536)
        self.buffer += data
        return bool(data)

    def take(self, count):
        while len(self.buffer) < count:
            check(self.more(), f"the connection ended within {self.buffer!r}")
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def line(self, end=b"\r\n"):
        while end not in self.buffer:
            check(self.more(), f"the connection ended within {self.buffer!r}")
        data, self.buffer = self.buffer.split(end, 1)
        return data

    def ended(self):
        """Whether nothing comes any more and the peer has closed."""
        try:
            return not self.buffer and not self.more()
        except ConnectionResetError:
            return True

    def request(self, method, path, headers=(), body=None, version="1.1"):
        """Sends a request and reads the answer's head."""
        lines = [f"{method} {path} HTTP/{version}", f"Host: 127.0.0.1:{self.port}"]
        lines += [f"{name}: {value}" for name, value in dict(headers).items()]
        if body is not None or method == "POST":
            body = body.encode() if isinstance(body, str) else body or b""
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))
        return Answer(self, method)


class Answer:
    """A response's head, and its body as far as it was read."""

    def __init__(self, connection, method):
        self.connection = connection
        version, status, *_ = connection.line().decode().split(" ", 2)
        self.version, self.status, self.fields = version, int(status), []
        while line := connection.line().decode("latin-1"):
            name, value = line.split(":", 1)
            self.fields.append((name.lower(), value.strip()))
        self.chunked = (self["transfer-encoding"] or "").lower() == "chunked"
        self.bodiless = method == "HEAD" or self.status in (101, 204, 304)

    def __getitem__(self, name):
        """A header's value, or None."""
        return next((value for field, value in self.fields if field == name), None)

    def chunk(self):
        """The next chunk of a chunked body; empty after the last."""
        check(self.chunked, f"the body isn't chunked: {self.fields}")
        size = int(self.connection.line().split(b";")[0], 16)
        data = self.connection.take(size)
        equal(self.connection.take(2), b"\r\n", "the end of a chunk")
        return data.decode()

    def body(self):
        """The rest of the body."""
        if self.bodiless:
            return ""
        if self.chunked:
            return "".join(iter(self.chunk, ""))
        if self["content-length"] is not None:
            return self.connection.take(int(self["content-length"])).decode()
        while self.connection.more():
            pass
        data, self.connection.buffer = self.connection.buffer, b""
        return data.decode()


class Base:
    """A base URL on a node."""

    def __init__(self, port, path):
        self.port, self.path = port, path

    def at(self, port):
        return Base(port, self.path)

    def open(self, method, rest, headers=(), body=None, version="1.1"):
        """A request on a connection of its own, whose body isn't read yet."""
        return Connection(self.port).request(method, self.path + rest, headers, body, version)

    def fetch(self, method, rest, headers=(), body=None):
        """Answer and body."""
        answer = self.open(method, rest, headers, body)
        text = answer.body()
        answer.connection.close()
        return answer, text

    def get(self, rest, headers=()):
        return self.fetch("GET", rest, headers)

    def post(self, rest, body=None, headers=()):
        return self.fetch("POST", rest, headers, body)

    def session(self):
        return Session(self)


class Session:
    """A session with an id of its own."""

    def __init__(self, base, name=None):
        self.base, self.id = base, name or uuid.uuid4().hex

    def at(self, port):
        """The same session by way of another node."""
        return Session(self.base.at(port), self.id)

    def path(self, transport, server="000"):
        return f"/{server}/{self.id}/{transport}"

    def poll(self, headers=()):
        """Body of one poll, which must be good."""
        answer, body = self.base.post(self.path("xhr"), headers=headers)
        equal(answer.status, 200, "status of a poll")
        return body

    def opened(self):
        equal(self.poll(), "o\n", "the first poll")
        return self

    def send(self, *texts, status=204, headers=()):
        answer, body = self.base.post(self.path("xhr_send"), json.dumps(texts), headers)
        equal((answer.status, body if status == 204 else ""), (status, ""), "the answer to xhr_send")

    def waiting(self):
        """A poll that is under way: its connection, with the request sent and nothing read."""
        connection = Connection(self.base.port)
        path = self.base.path + self.path("xhr")
        connection.send(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
        return connection

    def stream(self, transport="xhr_streaming", query="", headers=(), version="1.1"):
        """A streaming response; what it begins with is read and given."""
        method = "POST" if transport.startswith("xhr") else "GET"
        answer = self.base.open(method, self.path(transport) + query, headers, version=version)
        equal(answer.status, 200, f"status of {transport}")
        return answer, answer.chunk() if answer.chunked else ""

    def socket(self, headers=()):
        return WebSocket(self.base, self.path("websocket"), headers)


class WebSocket:
    """A WebSocket client, RFC 6455."""

    KEY = "x3JJHMbDL1EzLkh9GBhXDw=="
    HEAD = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": KEY}

    def __init__(self, base, rest, headers=()):
        self.answer = base.open("GET", rest, {**self.HEAD, **dict(headers)})
        equal(self.answer.status, 101, "status of the handshake")
        self.connection = self.answer.connection

    def frame(self, first, payload):
        mask = os.urandom(4)
        size = len(payload)
        head = bytes([first]) + (
            bytes([0x80 | size]) if size < 126
            else bytes([0xFE]) + struct.pack(">H", size) if size < 65536
            else bytes([0xFF]) + struct.pack(">Q", size)
        )
        self.connection.send(head + mask + bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload)))

    def send(self, text):
        self.frame(0x81, text.encode())

    def close(self):
        self.connection.close()

    def receive(self):
        """Opcode and payload of the next frame that is no ping."""
        while True:
            first, size = self.connection.take(2)
            if size == 126:
                (size,) = struct.unpack(">H", self.connection.take(2))
            elif size == 127:
                (size,) = struct.unpack(">Q", self.connection.take(8))
            payload = self.connection.take(size)
            if first & 0x0F != 9:
                return first & 0x0F, payload

    def text(self):
        opcode, payload = self.receive()
        equal(opcode, 1, f"opcode of {payload!r}")
        return payload.decode()

    def closed(self):
        """Code and reason of the close frame that comes next, after which the peer closes the connection."""
        opcode, payload = self.receive()
        equal(opcode, 8, f"opcode of {payload!r}")
        self.frame(0x88, payload[:2])
        check(self.connection.ended(), "the connection stays open after its close frame")
        return int.from_bytes(payload[:2], "big"), payload[2:].decode()
