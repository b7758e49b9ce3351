"""A WebSocket client of the standard library alone, which says what it is told to say: also what no good client would."""

import base64
import os
import socket
import struct
import time

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Refused(Exception):
    """The handshake was answered with something else than 101."""

    def __init__(self, status, body):
        super().__init__(f"{status}: {body[:200]}")
        self.status, self.body = status, body


class Closed(Exception):
    """The connection is closed, with this code (None where there was none) and reason."""

    def __init__(self, code, reason=""):
        super().__init__(f"closed with {code} {reason}")
        self.code, self.reason = code, reason


class WebSocket:
    """One connection. Pings are answered whenever something is read."""

    def __init__(self, port, path, headers=(), protocols=()):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.buffer = b""
        lines = [
            f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: Upgrade", "Upgrade: websocket",
            "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + base64.b64encode(os.urandom(16)).decode(),
            *(f"{name}: {value}" for name, value in headers),
        ]
        if protocols:
            lines.append("Sec-WebSocket-Protocol: " + ", ".join(protocols))
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = self._until(b"\r\n\r\n").decode()
        status = int(head.split(" ", 2)[1])
        fields = {}
        for line in head.split("\r\n")[1:]:
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
        if status != 101:
            length = int(fields.get("content-length", 0))
            raise Refused(status, self._exactly(length).decode(errors="replace"))
        self.protocol = fields.get("sec-websocket-protocol")

    def _more(self):
        data = self.socket.recv(1 << 16)
        if not data:
            raise Closed(None, "without a close frame")
        self.buffer += data

    def _until(self, end):
        while end not in self.buffer:
            self._more()
        taken, self.buffer = self.buffer.split(end, 1)
        return taken

    def _exactly(self, count):
        while len(self.buffer) < count:
            self._more()
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def send(self, data, kind=TEXT, last=True):
        """Sends a frame; with `last=False` a message's beginning, whose rest is of kind 0."""
        data = data.encode() if isinstance(data, str) else data
        size = len(data)
        head = bytes([(0x80 if last else 0) | kind])
        if size < 126:
            head += bytes([0x80 | size])
        elif size < 1 << 16:
            head += bytes([0x80 | 126]) + struct.pack(">H", size)
        else:
            head += bytes([0x80 | 127]) + struct.pack(">Q", size)
        mask = os.urandom(4)
        body = (int.from_bytes(data, "big") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "big")).to_bytes(size, "big")
        self.socket.sendall(head + mask + body)

    def receive(self, seconds=5.0):
        """The next text message; None if none comes in time. Raises Closed."""
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self.socket.settimeout(left)
            try:
                kind, data = self._frame()
            except TimeoutError:
                return None
            except ConnectionError as error:
                raise Closed(None, str(error)) from error
            finally:
                self.socket.settimeout(10)
            if kind == PING:
                self.send(data, PONG)
            elif kind == CLOSE:
                code = struct.unpack(">H", data[:2])[0] if len(data) >= 2 else None
                raise Closed(code, data[2:].decode(errors="replace"))
            elif kind == TEXT:
                return data.decode()

    def _frame(self):
        # Nothing is taken from the buffer before the whole frame is there, so that a time-out loses nothing.
        while True:
            frame = self._parse()
            if frame:
                return frame
            self._more()

    def _parse(self):
        data = self.buffer
        if len(data) < 2:
            return None
        size, at = data[1] & 0x7F, 2
        if data[1] & 0x80:
            raise Closed(None, "the server masked a frame")
        if size == 126:
            if len(data) < 4:
                return None
            size, at = struct.unpack(">H", data[2:4])[0], 4
        elif size == 127:
            if len(data) < 10:
                return None
            size, at = struct.unpack(">Q", data[2:10])[0], 10
        if len(data) < at + size:
            return None
        self.buffer = data[at + size:]
        return data[0] & 0x0F, data[at:at + size]

    def close(self):
        self.socket.close()
