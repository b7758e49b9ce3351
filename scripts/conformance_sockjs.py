#!/usr/bin/env python3
"""Cases of the SockJS protocol 0.3.3, written from its text. Started by `scripts/conformance sockjs`, which explains it.

They run against two servers on one nats-server, with the services on that the protocol's tests ask for. Where revisions of the
text differ (CORS of origin `null`, `no-transform`, the comment before a JSONP callback, the frame page), the newest one counts,
which is what the npm packages sockjs 0.3.24 and sockjs-client 1.6.1 speak.
"""

import itertools
import json
import re
import sys
import time

import conformance
from conformance import CASES, check, equal, run
from rig import Failed, free_port, until
from sockjs_client import Base, Connection, Session, WebSocket

YEAR = "max-age=31536000"
NO_STORE = "no-store, no-cache, no-transform, must-revalidate, max-age=0"
SCRIPT = "application/javascript;charset=UTF-8"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
BUSY, GONE = 'c[2010,"Another connection still open"]', 'c[1002,"Connection interrupted"]'
AWAY = 'c[3000,"Go away!"]'
# Streaming transports: query, what is before a frame and after it, and whether the frame stands in a string.
STREAMS = {
    "xhr_streaming": ("", "", "\n", False),
    "eventsource": ("", "data: ", "\r\n\r\n", False),
    "htmlfile": ("?c=callback", '<script>\np("', '");\n</script>\r\n', True),
}


def case(name, *arguments):
    """Registers a function as a case; with arguments, as one for each of them, `{}` in the name."""

    def register(function):
        for argument in arguments:
            conformance.case(name.format(argument), argument)(function)
        return function if arguments else conformance.case(name)(function)

    return register


class World:
    """Two nodes: the first owns the cell, the second only serves clients."""

    def __init__(self, rig):
        self.rig, self.ports = rig, [rig.http_port, free_port()]

    def start(self):
        self.rig.start_nats()
        for number, (port, roles) in enumerate(zip(self.ports, ("tracker,bridge", "bridge"))):
            command = [
                "env", "TRUNKLINE_HTTP__SOCKJS_TEST_SERVICES=true", f"TRUNKLINE_ROLES={roles}", self.rig.trunkline, "serve",
                "--insecure", "--http", f"127.0.0.1:{port}", "--nats", self.rig.nats_url, "--data",
                self.rig.data / str(number),
            ]
            child, base = self.rig.child(f"server{number}", command), Base(port, "")

            def ready(child=child, base=base):
                if not child.alive():
                    raise Failed(f"the server ended:\n{child.tail()}")
                try:
                    return base.get("/readyz")[0].status == 200
                except OSError:
                    return False

            until(30, "/readyz says 200", ready)

    def base(self, path, node=0):
        return Base(self.ports[node], path)

    @property
    def echo(self):
        return self.base("/echo")

    @property
    def closes(self):
        return self.base("/close")


def kind(answer):
    return (answer["content-type"] or "").replace(" ", "")


def no_store(answer):
    equal(answer["cache-control"], NO_STORE, "Cache-Control")
    equal((answer["expires"], answer["last-modified"]), (None, None), "Expires and Last-Modified")


def for_a_year(answer):
    check("public" in answer["cache-control"] and YEAR in answer["cache-control"], f"{answer['cache-control']}")
    check(re.search(r"GMT$", answer["expires"] or ""), f"Expires: {answer['expires']}")


def shared(answer, origin):
    expected = (origin, "true") if origin else ("*", None)
    found = (answer["access-control-allow-origin"], answer["access-control-allow-credentials"])
    equal(found, expected, f"CORS for origin {origin}")


def framed(transport, frame):
    _, before, after, quoted = STREAMS[transport]
    return before + (json.dumps(frame)[1:-1] if quoted else frame) + after


# ---- Base URL, greeting


@case("greeting: GET {} greets in plain text, without a cookie", "", "/")
def greeting(world, rest):
    answer, body = world.echo.get(rest)
    equal((answer.status, kind(answer), body), (200, "text/plain;charset=UTF-8", "Welcome to SockJS!\n"))
    equal(answer["set-cookie"], None, "cookie")


@case("greeting: the product's own base URL greets too: /ws{}", "", "/")
def greeting_ws(world, rest):
    equal(world.base("/ws").get(rest)[1], "Welcome to SockJS!\n")


@case("paths: {} is 404", "/a", "/a.html", "//", "///", "/a/a", "/a/a/", "/a/", "/a/a/nothing", "/info.json")
def not_found(world, rest):
    equal(world.echo.get(rest)[0].status, 404)


@case("paths: a base URL is matched whole")
def base_whole(world):
    equal(Base(world.ports[0], "/echoes").get("")[0].status, 404)


# ---- Frame page

PAGE = """<!DOCTYPE html>
<html>
<head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
  <script src="URL"></script>
  <script>
    document.domain = document.domain;
    SockJS.bootstrap_iframe();
  </script>
</head>
<body>
  <h2>Don't panic!</h2>
  <p>This is a SockJS hidden iframe. It's used for cross domain magic.</p>
</body>
</html>"""


@case(
    "iframe: {} is the page, kept for a year", "/iframe.html", "/iframe-a.html", "/iframe-.html", "/iframe-0.1.2.html",
    "/iframe-0.1.2abc-dirty.2144.html", "/iframe-a.html?t=1234", "/iframe-0.1.2abc-dirty.2144.html?t=qweqweq123",
)
def iframe(world, rest):
    answer, body = world.echo.get(rest)
    equal((answer.status, kind(answer)), (200, "text/html;charset=UTF-8"))
    for_a_year(answer)
    check(answer["etag"], "no ETag")
    equal((answer["last-modified"], answer["set-cookie"]), (None, None), "Last-Modified and Set-Cookie")
    url = re.search(r'src="([^"]*)"', body).group(1)
    check(url.startswith(("/", "http")), f"script {url}")
    equal(body.strip(), PAGE.replace("URL", url))


@case(
    "iframe: {} is 404", "/iframe.htm", "/iframe", "/IFRAME.HTML", "/IFRAME", "/iframe.HTML", "/iframe.xml",
    "/iframe-/.html",
)
def iframe_wrong(world, rest):
    equal(world.echo.get(rest)[0].status, 404)


@case("iframe: the ETag is the same each time, and If-None-Match is answered with 304 and nothing else")
def iframe_cached(world):
    tags = [world.echo.get("/iframe.html")[0]["etag"] for _ in range(2)]
    equal(tags[0], tags[1])
    answer, body = world.echo.get("/iframe.html", {"If-None-Match": tags[0]})
    equal((answer.status, answer["content-type"], body), (304, None, ""))
    equal(world.echo.get("/iframe.html", {"If-None-Match": '"other"'})[0].status, 200)


# ---- Info


@case("info: says what there is, to any origin, and is never kept")
def info(world):
    answer, body = world.echo.get("/info", {"Origin": "http://test"})
    equal((answer.status, kind(answer), answer["set-cookie"]), (200, "application/json;charset=UTF-8", None))
    no_store(answer)
    shared(answer, "http://test")
    said = json.loads(body)
    equal((said["websocket"], said["cookie_needed"], said["origins"]), (True, False, ["*:*"]))
    check(isinstance(said["entropy"], int) and 0 <= said["entropy"] < 2**32, f"entropy {said['entropy']}")


@case("info: its entropy is another each time")
def entropy(world):
    values = {json.loads(world.echo.get("/info")[1])["entropy"] for _ in range(4)}
    equal(len(values), 4)


@case("info: where WebSockets are off it says so, and their paths are 404")
def info_no_websocket(world):
    base = world.base("/disabled_websocket_echo")
    equal(json.loads(base.get("/info")[1])["websocket"], False)
    for rest in ("/websocket", "/0/0/websocket"):
        equal(base.open("GET", rest, WebSocket.HEAD).status, 404, rest)


@case("info: /ws is as the product serves it: WebSocket, no cookie")
def info_ws(world):
    said = json.loads(world.base("/ws").get("/info")[1])
    equal((said["websocket"], said["cookie_needed"]), (True, False))


def preflight(world, rest, methods):
    for origin in ("http://test", "null", None):
        headers = {"Access-Control-Request-Method": methods} | ({"Origin": origin} if origin else {})
        answer, body = world.echo.fetch("OPTIONS", rest, headers)
        equal((answer.status, body), (204, ""))
        for_a_year(answer)
        check(int(answer["access-control-max-age"]) > 1_000_000, "Access-Control-Max-Age")
        equal(answer["access-control-allow-methods"], methods)
        shared(answer, origin)


@case("info: OPTIONS may be kept for a year and allows any origin, null too")
def info_options(world):
    preflight(world, "/info", "OPTIONS, GET")


# ---- Methods


@case(
    "methods: {} is 405 with Allow, no type and no body", "POST /info", "PUT /iframe.html", "POST ", "GET /0/a/xhr",
    "GET /0/a/xhr_send", "GET /0/a/xhr_streaming", "POST /0/a/eventsource", "POST /0/a/htmlfile", "POST /0/a/jsonp",
    "GET /0/a/jsonp_send", "POST /0/a/websocket", "POST /websocket", "DELETE /0/a/xhr", "OPTIONS /0/a/jsonp",
)
def not_allowed(world, what):
    method, rest = what.split(" ")
    answer, body = world.echo.fetch(method, rest)
    equal((answer.status, answer["content-type"], body), (405, None, ""))
    check(answer["allow"] and method not in answer["allow"].split(", "), f"Allow: {answer['allow']}")


# ---- Session URLs


@case("session URLs: any server and session go: {}", "/a/a", "/_/_", "/1/", "/abcdefgh_i-j%20/abcdefg_i-j%20")
def any_value(world, rest):
    unique = Session(world.echo).id
    answer, body = world.echo.post(f"{rest}{unique}/xhr")
    equal((answer.status, body), (200, "o\n"))


@case("session URLs: {}/xhr is 404 by GET and POST", "/", "/a./a", "/a/a.", "/./.", "", "//", "/a//b", "/a/b/c")
def invalid_paths(world, rest):
    equal(world.echo.post(rest + "/xhr")[0].status, 404)
    equal(world.echo.get(rest + "/xhr")[0].status, 404)


@case("session URLs: the server's part doesn't matter")
def ignored_server(world):
    session = world.echo.session()
    equal(world.echo.post(session.path("xhr", "000"))[1], "o\n")
    session.send("a")
    equal(world.echo.post(session.path("xhr", "999"))[1], 'a["a"]\n')


@case("session URLs: base URLs don't share sessions")
def bases_apart(world):
    session = world.echo.session().opened()
    other = Session(world.base("/cookie_needed_echo"), session.id)
    other.send("x", status=404)
    other.opened()


# ---- Protocol


@case("protocol: o first, then messages as an array")
def simple_session(world):
    session = world.echo.session().opened()
    session.send("a")
    equal(session.poll(), 'a["a"]\n')


@case("protocol: sending by {} to a session that isn't there is 404", "xhr_send", "jsonp_send")
def bad_session(world, transport):
    body = "d=%5B%22x%22%5D" if transport == "jsonp_send" else '["x"]'
    headers = FORM if transport == "jsonp_send" else {}
    equal(world.echo.post(f"/000/bad_{Session(world.echo).id}/{transport}", body, headers)[0].status, 404)


@case("protocol: messages come in order and none twice, over many polls")
def in_order(world):
    session, got, sent = world.echo.session().opened(), [], [str(n) for n in range(60)]
    for start in range(0, 60, 3):
        session.send(*sent[start:start + 3])
        while len(got) < start + 3:
            got += json.loads(session.poll()[1:])
    equal(got, sent)


@case("protocol: a second receiver is told of the first: 2010")
def second_receiver(world):
    session = world.echo.session().opened()
    first = session.waiting()
    time.sleep(0.2)
    equal(session.poll(), BUSY + "\n")
    session.send("x")
    check(first.line().endswith(b"200 OK"), "the first receiver goes on")
    first.close()


@case("protocol: the close frame is served again until the session times out")
def close_session(world):
    session = world.closes.session().opened()
    for _ in range(3):
        equal(session.poll(), AWAY + "\n")


@case("protocol: after 5 s without a receiver the session is gone, and its id begins a new one")
def times_out(world):
    session = world.echo.session().opened()
    time.sleep(3)
    session.send("early")
    equal(session.poll(), 'a["early"]\n')
    time.sleep(6.5)
    session.send("late", status=404)
    session.opened()


@case("protocol: a closed session times out as well")
def closed_times_out(world):
    session = world.closes.session().opened()
    equal(session.poll(), AWAY + "\n")
    time.sleep(6.5)
    session.opened()


@case("protocol: with a receiver it stays for longer than that, and the stream is quiet")
def stays(world):
    session = world.echo.session()
    stream, _ = session.stream()
    equal(stream.chunk(), "o\n")
    time.sleep(7)
    session.send("x")
    equal(stream.chunk(), 'a["x"]\n')


@case("protocol: a heartbeat every 25 s: {}", "xhr", "xhr_streaming", "eventsource", "htmlfile", "jsonp", "websocket")
def heartbeat(world, transport):
    session, begin = world.echo.session(), time.monotonic()
    if transport == "websocket":
        socket = session.socket()
        equal(socket.text(), "o")
        socket.connection.socket.settimeout(30)
        equal(socket.text(), "h")
    elif transport in STREAMS:
        stream, _ = session.stream(transport, STREAMS[transport][0])
        stream.connection.socket.settimeout(30)
        equal(stream.chunk(), framed(transport, "o"))
        equal(stream.chunk(), framed(transport, "h"))
    else:
        method, query = ("POST", "") if transport == "xhr" else ("GET", "?c=x")
        equal(world.echo.fetch(method, session.path(transport) + query)[0].status, 200)
        connection = Connection(world.ports[0])
        connection.socket.settimeout(30)
        answer = connection.request(method, world.echo.path + session.path(transport) + query)
        equal(answer.body(), "h\n" if transport == "xhr" else '/**/x("h");\r\n')
    took = time.monotonic() - begin
    check(24 < took < 27, f"after {took:.1f} s")


# ---- WebSocket


@case("websocket: a plain GET is 400 and says why: {}", "/0/0/websocket", "/websocket")
def websocket_plain(world, rest):
    answer, body = world.echo.get(rest)
    equal(answer.status, 400)
    check('Can "Upgrade" only to "WebSocket".' in body, body)


@case("websocket: without Connection: Upgrade it is 400")
def websocket_connection(world):
    answer, body = world.echo.get("/0/0/websocket", {"Upgrade": "WebSocket", "Connection": "close"})
    equal(answer.status, 400)
    check('"Connection" must be "Upgrade".' in body, body)


@case("websocket: POST is 405 whatever else it says")
def websocket_post(world):
    for headers in ({"Upgrade": "WebSocket", "Connection": "Upgrade"}, {}):
        answer, body = world.echo.post("/0/0/websocket", headers=headers)
        equal((answer.status, answer["content-type"], bool(answer["allow"]), body), (405, None, True, ""))


@case("websocket: the handshake's headers are those of RFC 6455")
def websocket_headers(world):
    answer = world.echo.session().socket({"Sec-WebSocket-Origin": "http://asd"}).answer
    equal(answer["sec-websocket-accept"], "HSmrc0sMlYUkAGmm5OPpG2HaGWk=")
    equal((answer["connection"].lower(), answer["upgrade"].lower()), ("upgrade", "websocket"))
    equal(answer["content-length"], None)


@case("websocket: Connection: keep-alive, Upgrade goes (Firefox 6)")
def websocket_firefox(world):
    equal(world.echo.session().socket({"Connection": "keep-alive, Upgrade"}).text(), "o")


@case("websocket: the hixie-76 handshake is refused with 4xx, not answered wrongly")
def websocket_hixie(world):
    answer = world.echo.open("GET", world.echo.session().path("websocket"), {
        "Connection": "Upgrade", "Upgrade": "WebSocket", "Origin": "http://x",
        "Sec-WebSocket-Key1": "4 @1  46546xW%0l 1 5", "Sec-WebSocket-Key2": "12998 5 Y3 1  .P00",
    })
    check(400 <= answer.status < 500, f"status {answer.status}")


@case("websocket: o, then what is sent comes back")
def websocket_transport(world):
    socket = world.echo.session().socket()
    equal(socket.text(), "o")
    socket.send('["a"]')
    equal(socket.text(), 'a["a"]')


@case("websocket: one message without an array goes")
def websocket_single(world):
    socket = world.echo.session().socket()
    equal(socket.text(), "o")
    socket.send('"a"')
    equal(socket.text(), 'a["a"]')


@case("websocket: empty frames and empty arrays are passed over")
def websocket_empty(world):
    socket = world.echo.session().socket()
    equal(socket.text(), "o")
    for text in ("", "[]", '["a"]'):
        socket.send(text)
    equal(socket.text(), 'a["a"]')


@case("websocket: several messages of one frame all come, in order")
def websocket_several(world):
    socket, got = world.echo.session().socket(), []
    equal(socket.text(), "o")
    socket.send('["a","b","c"]')
    while len(got) < 3:
        got += json.loads(socket.text()[1:])
    equal(got, ["a", "b", "c"])


@case("websocket: the session may close; after c comes the close frame with its code, and the connection ends")
def websocket_close(world):
    socket = world.closes.session().socket()
    equal((socket.text(), socket.text(), socket.closed()), ("o", AWAY, (3000, "Go away!")))


@case("websocket: an id may be used by several sockets at once, and again afterwards")
def websocket_reuse(world):
    session = world.echo.session()
    first, second = session.socket(), session.socket()
    equal((first.text(), second.text()), ("o", "o"))
    first.send('["a"]')
    second.send('["b"]')
    equal((first.text(), second.text()), ('a["a"]', 'a["b"]'))
    first.close()
    second.close()
    third = session.socket()
    third.send('["c"]')
    equal((third.text(), third.text()), ("o", 'a["c"]'))


@case("websocket: broken JSON ends the connection: {}", '["a', '[1]', 'x')
def websocket_broken(world, text):
    socket = world.echo.session().socket()
    equal(socket.text(), "o")
    socket.send(text)
    opcode, _ = socket.receive()
    equal(opcode, 8, "opcode")
    socket.frame(0x88, b"")
    check(socket.connection.ended(), "the connection stays open")


@case("websocket: messages of 100,000 bytes go both ways")
def websocket_large(world):
    socket, text = world.echo.session().socket(), "x" * 100_000
    equal(socket.text(), "o")
    socket.send(json.dumps([text]))
    equal(socket.text() == f'a["{text}"]', True, "the message comes back")


@case("websocket: a socket's session isn't found by other transports")
def websocket_apart(world):
    session = world.echo.session()
    equal(session.socket().text(), "o")
    session.send("x", status=404)


# ---- XHR polling


@case("xhr: OPTIONS of {}", "xhr", "xhr_send", "xhr_streaming")
def xhr_options(world, transport):
    preflight(world, f"/abc/abc/{transport}", "OPTIONS, POST")


@case("xhr: headers of polls and sends: type, CORS, never kept")
def xhr_headers(world):
    session, origin = world.echo.session(), {"Origin": "http://test"}
    answer, body = world.echo.post(session.path("xhr"), headers=origin)
    equal((answer.status, kind(answer), body), (200, SCRIPT, "o\n"))
    shared(answer, "http://test")
    no_store(answer)
    answer, body = world.echo.post(session.path("xhr_send"), '["x"]', origin)
    equal((answer.status, kind(answer), body), (204, "text/plain;charset=UTF-8", ""))
    shared(answer, "http://test")
    no_store(answer)
    equal(session.poll(), 'a["x"]\n')


@case("xhr: without an origin any may read, without credentials")
def xhr_no_origin(world):
    shared(world.echo.post(world.echo.session().path("xhr"))[0], None)


@case("xhr: broken JSON and no JSON are 500 with the protocol's words, and harm nobody")
def xhr_invalid(world):
    session = world.echo.session().opened()
    for body, said in (('["x', "Broken JSON encoding."), ("", "Payload expected."), ('"x"', "Payload expected.")):
        answer, text = world.echo.post(session.path("xhr_send"), body)
        equal(answer.status, 500, f"status of {body!r}")
        check(said in text, f"{body!r}: {text}")
    session.send("a")
    equal(session.poll(), 'a["a"]\n')


@case("xhr: any content type is taken")
def xhr_types(world):
    session, kinds = world.echo.session().opened(), [
        "text/plain", "T", "application/json", "application/xml", "", "application/json; charset=utf-8",
        "text/xml; charset=utf-8", "text/xml",
    ]
    for each in kinds:
        session.send("a", headers={"Content-Type": each})
    got = []
    while len(got) < len(kinds):
        got += json.loads(session.poll()[1:])
    equal(got, ["a"] * len(kinds))


@case("xhr: what waits comes in one array")
def xhr_batch(world):
    session = world.echo.session().opened()
    session.send(*"abc")
    time.sleep(0.3)
    got = json.loads(session.poll()[1:])
    while len(got) < 3:
        got += json.loads(session.poll()[1:])
    equal(got, ["a", "b", "c"])


@case("xhr: Access-Control-Request-Headers are named back, an empty one isn't")
def xhr_request_headers(world):
    for asked, expected in (("a, b, c", "a, b, c"), ("", None), (None, None)):
        headers = {"Origin": "http://test"} | ({"Access-Control-Request-Headers": asked} if asked is not None else {})
        answer, _ = world.echo.post(world.echo.session().path("xhr"), headers=headers)
        equal(answer["access-control-allow-headers"], expected)


@case("xhr: empty arrays are allowed: a client's heartbeat")
def xhr_empty(world):
    session = world.echo.session().opened()
    session.send()
    session.send("a")
    equal(session.poll(), 'a["a"]\n')


@case("xhr: a poll waits for what comes later")
def xhr_waits(world):
    session = world.echo.session().opened()
    poll = session.waiting()
    time.sleep(0.5)
    session.send("later")
    poll.line(b"\r\n\r\n")
    equal(poll.take(len('a["later"]\n')), b'a["later"]\n')


@case("xhr: a body larger than the bound is 413 and changes nothing")
def xhr_too_large(world):
    session = world.echo.session().opened()
    equal(world.echo.post(session.path("xhr_send"), json.dumps(["x" * 300_000]))[0].status, 413)
    session.send("a")
    equal(session.poll(), 'a["a"]\n')


# ---- Streams


@case("{}: type, never kept, never buffered, prelude, o, messages", *STREAMS)
def stream(world, transport):
    session = world.echo.session()
    answer, prelude = session.stream(transport, STREAMS[transport][0], {"Origin": "http://test"})
    kinds = {"xhr_streaming": SCRIPT, "eventsource": "text/event-stream", "htmlfile": "text/html;charset=UTF-8"}
    equal(kind(answer), kinds[transport])
    no_store(answer)
    equal(answer["x-accel-buffering"], "no")
    if transport == "xhr_streaming":
        shared(answer, "http://test")
        equal(prelude, "h" * 2048 + "\n")
    elif transport == "eventsource":
        equal(prelude, "\r\n")
    equal(answer.chunk(), framed(transport, "o"))
    session.send("x")
    equal(answer.chunk(), framed(transport, 'a["x"]'))


@case("{}: the response ends after 4,096 bytes of frames, and the next one goes on", *STREAMS)
def stream_limit(world, transport):
    session, query = world.echo.session(), STREAMS[transport][0]
    answer, _ = session.stream(transport, query)
    size, text = len(answer.chunk()), "x" * 128
    while size < 4096:
        session.send(text)
        frame = answer.chunk()
        equal(frame, framed(transport, f'a["{text}"]'))
        size += len(frame)
    equal(answer.chunk(), "", "after the limit")
    again, _ = session.stream(transport, query)
    session.send("y")
    equal(again.chunk(), framed(transport, 'a["y"]'))


@case("{}: one message above the limit comes whole, and ends the response", *STREAMS)
def stream_one_large(world, transport):
    session, text = world.echo.session(), "x" * 4096
    answer, _ = session.stream(transport, STREAMS[transport][0])
    answer.chunk()
    session.send(text)
    equal(answer.chunk(), framed(transport, f'a["{text}"]'))
    equal(answer.chunk(), "")


@case("{}: line breaks, NUL and spaces are escaped", *STREAMS)
def stream_escapes(world, transport):
    session = world.echo.session()
    answer, _ = session.stream(transport, STREAMS[transport][0])
    answer.chunk()
    world.echo.post(session.path("xhr_send"), r'["  \u0000\n\r "]')
    equal(answer.chunk(), framed(transport, r'a["  \u0000\n\r "]'))


@case("{}: a second receiver gets 2010 and its response ends", *STREAMS)
def stream_second(world, transport):
    session, query = world.echo.session(), STREAMS[transport][0]
    first, _ = session.stream(transport, query)
    equal(first.chunk(), framed(transport, "o"))
    second, _ = session.stream(transport, query)
    equal((second.chunk(), second.chunk()), (framed(transport, BUSY), ""))
    session.send("x")
    equal(first.chunk(), framed(transport, 'a["x"]'))


@case("{}: the close frame ends the response, and comes again to the next", *STREAMS)
def stream_close(world, transport):
    session, query = world.closes.session(), STREAMS[transport][0]
    first, _ = session.stream(transport, query)
    equal([first.chunk() for _ in range(3)], [framed(transport, "o"), framed(transport, AWAY), ""])
    second, _ = session.stream(transport, query)
    equal([second.chunk() for _ in range(2)], [framed(transport, AWAY), ""])


@case("{}: a receiver that breaks off ends the session: 1002, or a new one", *STREAMS)
def stream_abort(world, transport):
    session, query = world.echo.session(), STREAMS[transport][0]
    first, _ = session.stream(transport, query)
    equal(first.chunk(), framed(transport, "o"))
    second, _ = session.stream(transport, query)
    equal(second.chunk(), framed(transport, BUSY))
    first.connection.close()
    third, _ = session.stream(transport, query)
    check(third.chunk() in (framed(transport, "o"), framed(transport, GONE)), "neither o nor 1002")


@case("htmlfile: its page has the callback, and 1,024 bytes or more")
def htmlfile_page(world):
    _, page = world.echo.session().stream("htmlfile", "?c=%63allback")
    head = """<!doctype html>
<html><head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
</head><body><h2>Don't panic!</h2>
  <script>
    document.domain = document.domain;
    var c = parent.callback;
    c.start();
    function p(d) {c.message(d);};
    window.onload = function() {c.stop();};
  </script>"""
    equal(page.strip(), head)
    check(len(page) > 1024, f"{len(page)} bytes")


@case("htmlfile: a message can't end the script that it stands in")
def htmlfile_script(world):
    session = world.echo.session()
    answer, _ = session.stream("htmlfile", "?c=x")
    answer.chunk()
    session.send("</script><script>alert(1)</script>")
    frame = answer.chunk()
    equal(frame.count("</script>"), 1, frame)
    said = json.loads(re.search(r'p\((".*")\);', frame).group(1))
    equal(json.loads(said[1:]), ["</script><script>alert(1)</script>"])


@case("{}: without a callback it is 500", "htmlfile", "jsonp")
def no_callback(world, transport):
    answer, body = world.echo.get(f"/a/a/{transport}")
    equal(answer.status, 500)
    check('"callback" parameter required' in body, body)


@case("{}: a callback that is no name is 500", "htmlfile", "jsonp")
def bad_callback(world, transport):
    for callback in ("%20", "*", "abc(", "abc%28", "a" * 33):
        answer, body = world.echo.get(f"/a/a/{transport}?c={callback}")
        equal(answer.status, 500, callback)
        check('invalid "callback" parameter' in body, body)


# ---- JSONP


def jsonp(session, status=200):
    answer, body = session.base.get(session.path("jsonp") + "?c=%63allback")
    equal(answer.status, status)
    return answer, body


@case("jsonp: o, sends, messages, headers")
def jsonp_transport(world):
    session = world.echo.session()
    answer, body = jsonp(session)
    equal((kind(answer), body), (SCRIPT, '/**/callback("o");\r\n'))
    no_store(answer)
    answer, body = world.echo.post(session.path("jsonp_send"), "d=%5B%22x%22%5D", FORM)
    equal((answer.status, kind(answer), body), (200, "text/plain;charset=UTF-8", "ok"))
    no_store(answer)
    equal(jsonp(session)[1], '/**/callback("a[\\"x\\"]");\r\n')


@case("jsonp: `callback` names the callback as well as `c`")
def jsonp_callback(world):
    equal(world.echo.get(world.echo.session().path("jsonp") + "?callback=f")[1], '/**/f("o");\r\n')


@case("jsonp: broken JSON and no JSON are 500 with the protocol's words, and harm nobody")
def jsonp_invalid(world):
    session = world.echo.session()
    jsonp(session)
    answer, text = world.echo.post(session.path("jsonp_send"), "d=%5B%22x", FORM)
    equal(answer.status, 500)
    check("Broken JSON encoding." in text, text)
    for body in ("", "d=", "p=p"):
        answer, text = world.echo.post(session.path("jsonp_send"), body, FORM)
        equal(answer.status, 500, body)
        check("Payload expected." in text, text)
    equal(world.echo.post(session.path("jsonp_send"), "d=%5B%22b%22%5D", FORM)[1], "ok")
    equal(jsonp(session)[1], '/**/callback("a[\\"b\\"]");\r\n')


@case("jsonp: a form's payload is in d, another body is the payload")
def jsonp_types(world):
    session, got = world.echo.session(), []
    jsonp(session)
    equal(world.echo.post(session.path("jsonp_send"), "d=%5B%22abc%22%5D", FORM)[1], "ok")
    equal(world.echo.post(session.path("jsonp_send"), '["%61bc"]', {"Content-Type": "text/plain"})[1], "ok")
    while len(got) < 2:
        said = re.fullmatch(r"/\*\*/callback\((.*)\);\r\n", jsonp(session)[1]).group(1)
        got += json.loads(json.loads(said)[1:])
    equal(got, ["abc", "%61bc"])


@case("jsonp: the close frame comes each time")
def jsonp_close(world):
    session = world.closes.session()
    said = [jsonp(session)[1] for _ in range(3)]
    away = '/**/callback("c[3000,\\"Go away!\\"]");\r\n'
    equal(said, ['/**/callback("o");\r\n', away, away])


@case("jsonp: empty arrays are allowed")
def jsonp_empty(world):
    session = world.echo.session()
    jsonp(session)
    equal(world.echo.post(session.path("jsonp_send"), "d=%5B%5D", FORM)[1], "ok")
    equal(world.echo.post(session.path("jsonp_send"), "d=%5B%22x%22%5D", FORM)[1], "ok")
    equal(jsonp(session)[1], '/**/callback("a[\\"x\\"]");\r\n')


@case("jsonp: its type can't be guessed anew by a browser")
def jsonp_sniff(world):
    equal(jsonp(world.echo.session())[0]["x-content-type-options"], "nosniff")


# ---- Cookie


@case("cookie: info says that it is needed, and sets none")
def cookie_info(world):
    answer, body = world.base("/cookie_needed_echo").get("/info")
    equal((json.loads(body)["cookie_needed"], answer["set-cookie"]), (True, None))


@case("cookie: {} sets it, or keeps the client's", "xhr", "xhr_streaming", "eventsource", "htmlfile", "jsonp", "OPTIONS xhr")
def cookie(world, transport):
    base = world.base("/cookie_needed_echo")
    method, transport = transport.split(" ") if " " in transport else (None, transport)
    method = method or ("POST" if transport.startswith("xhr") else "GET")
    for headers, value in (({}, "dummy"), ({"Cookie": "a=b; JSESSIONID=abcdef"}, "abcdef")):
        answer = base.open(method, base.session().path(transport) + "?c=callback", headers)
        parts = [part.strip() for part in answer["set-cookie"].split(";")]
        equal((parts[0], parts[1].lower()), (f"JSESSIONID={value}", "path=/"))
        answer.connection.close()


@case("cookie: {} sets it", "jsonp_send", "xhr_send")
def cookie_send(world, transport):
    session = world.base("/cookie_needed_echo").session().opened()
    body, headers = ("d=%5B%5D", FORM) if transport == "jsonp_send" else ("[]", {})
    answer, _ = session.base.post(session.path(transport), body, headers)
    check((answer["set-cookie"] or "").startswith("JSESSIONID=dummy"), f"{answer['set-cookie']}")


@case("cookie: where none is needed, none is set")
def no_cookie(world):
    equal(world.echo.post(world.echo.session().path("xhr"))[0]["set-cookie"], None)


# ---- Raw WebSocket


@case("raw websocket: messages go as they are, without o and framing")
def raw(world):
    socket = WebSocket(world.echo, "/websocket")
    socket.send("Hello world!\uffff")
    equal(socket.text(), "Hello world!\uffff")


@case("raw websocket: the close has its code and reason")
def raw_close(world):
    equal(WebSocket(world.closes, "/websocket").closed(), (3000, "Go away!"))


# ---- Unicode


def characters(*ranges):
    return "".join(chr(c) for first, last in ranges for c in range(first, last + 1) if not 0xD800 <= c <= 0xDFFF)


@case("unicode: the server escapes what browsers mangle, with lower-case digits")
def unicode_escapes(world):
    session = world.echo.session().opened()
    text = characters((0x200C, 0x200F), (0x2028, 0x202F), (0x2060, 0x206F), (0xFFF0, 0xFFFF))
    answer, _ = world.echo.post(session.path("xhr_send"), json.dumps([text], ensure_ascii=False))
    equal(answer.status, 204)
    equal(session.poll(), 'a["' + "".join(f"\\u{ord(c):04x}" for c in text) + '"]\n')


@case("unicode: the server reads every escaped character, and gives each back")
def unicode_reads(world):
    session, got = world.echo.session().opened(), ""
    text = characters((0, 0xFFFF))
    for start in range(0, len(text), 8192):
        session.send(text[start:start + 8192])
        got += json.loads(session.poll()[1:])[0]
    equal(got == text, True, "the text comes back")


@case("unicode: characters beyond the first plane go through")
def unicode_planes(world):
    session = world.echo.session().opened()
    session.send("\U0001f600汉é")
    equal(json.loads(session.poll()[1:]), ["\U0001f600汉é"])


# ---- Close and break


@case("close: a poll that is broken off ends the session: 1002, or a new one")
def abort_poll(world):
    session = world.echo.session().opened()
    poll = session.waiting()
    time.sleep(0.2)
    equal(session.poll(), BUSY + "\n")
    poll.close()
    check(session.poll() in ("o\n", GONE + "\n"), "neither o nor 1002")


@case("close: after a break, what is sent is not taken")
def abort_send(world):
    session = world.echo.session()
    stream, _ = session.stream()
    stream.chunk()
    stream.connection.close()
    time.sleep(0.3)
    session.send("x", status=404)


# ---- HTTP


@case("http/1.0: an answer of known length keeps the connection that asks for it, without chunks")
def http10(world):
    connection = Connection(world.ports[0])
    for _ in range(2):
        answer = connection.request("GET", "/echo", {"Connection": "Keep-Alive"}, version="1.0")
        equal((answer.status, answer["transfer-encoding"], answer["content-length"]), (200, None, "19"))
        equal(answer.body(), "Welcome to SockJS!\n")
        if (answer["connection"] or "").lower() != "keep-alive":
            check(connection.ended(), "neither kept nor closed")
            return


@case("http/1.0: a stream has neither chunks nor a length, and ends with the connection")
def http10_stream(world):
    answer, _ = world.closes.session().stream(headers={"Connection": "Keep-Alive"}, version="1.0")
    equal((answer["transfer-encoding"], answer["content-length"]), (None, None))
    equal(answer.body(), "h" * 2048 + "\n" + "o\n" + AWAY + "\n")


@case("http/1.1: connections are kept, a length or chunks are said")
def http11(world):
    connection = Connection(world.ports[0])
    for _ in range(3):
        answer = connection.request("GET", "/echo")
        check((answer["connection"] or "keep-alive").lower() == "keep-alive", f"{answer['connection']}")
        check(answer.chunked or answer["content-length"] == "19", f"{answer.fields}")
        equal(answer.body(), "Welcome to SockJS!\n")


@case("http/1.1: a stream is chunked, one frame a chunk")
def http11_stream(world):
    answer, _ = world.closes.session().stream()
    equal((answer.chunked, answer["content-length"]), (True, None))
    equal([answer.chunk() for _ in range(3)], ["o\n", AWAY + "\n", ""])


@case("http/1.1: polls and sends of one client go over one kept connection")
def http11_kept(world):
    session, connection = world.echo.session(), Connection(world.ports[0])
    path = lambda transport: world.echo.path + session.path(transport)
    equal(connection.request("POST", path("xhr")).body(), "o\n")
    for n in range(5):
        equal(connection.request("POST", path("xhr_send"), body=f'["{n}"]').status, 204)
        equal(connection.request("POST", path("xhr")).body(), f'a["{n}"]\n')


# ---- Several nodes


@case("nodes: a session is found from the other node, polls and sends alternating, in order, nothing twice")
def nodes_alternate(world):
    session, got, sent = world.echo.session(), [], [str(n) for n in range(80)]
    turns = itertools.cycle(session.at(port) for port in world.ports)
    equal(next(turns).poll(), "o\n")
    for start in range(0, 80, 4):
        next(turns).send(*sent[start:start + 4])
        while len(got) < start + 4:
            got += json.loads(next(turns).poll()[1:])
    equal(got, sent)


@case("nodes: {} on the other node than the session's", *STREAMS)
def nodes_stream(world, transport):
    session = world.echo.session().opened()
    there = session.at(world.ports[1])
    stream, _ = there.stream(transport, STREAMS[transport][0])
    for n in range(5):
        (session if n % 2 else there).send(str(n))
        equal(stream.chunk(), framed(transport, f'a["{n}"]'))
    session.send("x" * 5000)
    equal(stream.chunk(), framed(transport, 'a["' + "x" * 5000 + '"]'))
    equal(stream.chunk(), "", "after the limit")
    equal(session.at(world.ports[0]).stream()[0].status, 200)


@case("nodes: a second receiver on the other node gets 2010")
def nodes_second(world):
    session = world.echo.session()
    first, _ = session.stream()
    equal(first.chunk(), "o\n")
    equal(session.at(world.ports[1]).poll(), BUSY + "\n")


@case("nodes: a receiver that breaks off on the other node ends the session")
def nodes_abort(world):
    session = world.echo.session().opened()
    stream, _ = session.at(world.ports[1]).stream()
    session.send("x")
    equal(stream.chunk(), 'a["x"]\n')
    stream.connection.close()
    time.sleep(0.5)
    equal(session.poll(), GONE + "\n")


@case("nodes: the close frame comes from either")
def nodes_close(world):
    session = world.closes.session().opened()
    for port in world.ports * 2:
        equal(session.at(port).poll(), AWAY + "\n")


@case("nodes: a megabyte goes through in pieces")
def nodes_large(world):
    session, text = world.echo.session().opened(), "x" * 200_000
    there, got, expected = session.at(world.ports[1]), [], []
    for n in range(8):
        session.send(f"{n}{text}")
        expected.append(f"{n}{text}")
        got += json.loads(there.poll()[1:])
    equal(got == expected, True, "the messages come back")


@case("nodes: a stream by way of the other node begins at once, though nothing comes")
def nodes_quiet(world):
    session, begin = world.echo.session().opened(), time.monotonic()
    session.at(world.ports[1]).stream()
    took = time.monotonic() - begin
    check(took < 2, f"after {took:.1f} s")


@case("nodes: a session that no node has is 404 on both")
def nodes_none(world):
    for port in world.ports:
        world.echo.at(port).session().send("x", status=404)


# ---- Identity


@case("identity: who presents something else than at the opening isn't let in: {}", "xhr", "xhr_send", "other node")
def identity(world, how):
    session = world.base("/echo").session()
    path = session.path("xhr") + "?role=customer&sub=c1"
    equal(world.echo.post(path)[1], "o\n")
    base = world.echo.at(world.ports[1]) if how == "other node" else world.echo
    transport = "xhr_send" if how == "xhr_send" else "xhr"
    answer, _ = base.post(session.path(transport) + "?role=customer&sub=c2", '["x"]' if how == "xhr_send" else None)
    equal(answer.status, 404)
    session.send("mine")
    equal(base.post(path)[1], 'a["mine"]\n')


# The slow ones first: all others go on beside them.
CASES.sort(key=lambda entry: "heartbeat" not in entry[0])

if __name__ == "__main__":
    status = run("sockjs", world=World)
    print("The handshake of hixie-76 (browsers of 2010) is refused; that it is, is a case.")
    sys.exit(status)
