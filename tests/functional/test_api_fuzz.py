"""A fuzzer that knows of the API what /openapi.json says, and nothing else.

It makes requests from the served document: good ones, ones at the edge, and ones that are wrong in
one or several ways, from a seed. Every answer must be one that the document promises; what the
document refuses must be refused; nothing may be a server's error; what was accepted must be a row
that routes; and clients of the proxy are served meanwhile.

EDGEPROXY_FUZZ_SEED and EDGEPROXY_FUZZ_REQUESTS search on: the seed of a failure is in its text.
"""

import copy
import http.client
import json
import os
import random
import socket
import string
import urllib.parse

import pytest

import openapi
from harness import split_addr
from peers import Echo

REQUESTS = int(os.environ.get("EDGEPROXY_FUZZ_REQUESTS", "2000"))
SEEDS = [int(os.environ["EDGEPROXY_FUZZ_SEED"])] if "EDGEPROXY_FUZZ_SEED" in os.environ else [1, 2, 3]
PING_EVERY = 50
ENV = dict(EDGEPROXY_API_ENABLED="true", EDGEPROXY_API_LISTEN_ADDR="127.0.0.1:0",
           EDGEPROXY_API_ALLOW_ADDRS="10.0.0.0/8,fd00::/8", EDGEPROXY_API_RATE=0,
           EDGEPROXY_BINDING_TTL_SECS=0)
# What breaks HTTP itself is answered by the HTTP library, in its own words, or not at all.
PROTOCOL_ERRORS = (400, 405, 411, 413, 414, 431, 501, 505)
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PURGE",
           "get", "G\x7fT", "X" * 300)
TEXTS = ["", " ", "\0", "a\0b", "\n", "a b", "..", "../../etc/passwd", "%", "'; DROP TABLE backends",
         "é", "日本", "\U0001f600", "\u202e", "\ufeff", "\ufffd", "a/b", "null", "*", "-1", "a" * 1000]
NUMBERS = [0, 1, -1, 2, 79, 80, 65535, 65536, 1000000000, 1000000001, 2**31, 2**32, 2**53, 2**63 - 1,
           2**63, -2**63, -2**63 - 1, 10**40, 1.0, 1.5, -0.0, 1e308]
OTHERS = [None, True, False, [], {}, [1], {"a": 1}, [[[]]]]


class Request:
    """Bytes, and what is known of them."""

    def __init__(self, method, target):
        self.method = method
        self.target = target
        self.headers = [("Host", "127.0.0.1"), ("Connection", "close")]
        self.body = None
        self.is_http = True  # False: answered by whoever reads HTTP
        self.refused = False  # by the document

    def encode(self):
        lines = [f"{self.method} {self.target} HTTP/1.1".encode("latin-1")]
        headers = list(self.headers)
        if self.body is not None:
            headers.append(("Content-Length", str(len(self.body))))
        lines += [f"{name}: {value}".encode("latin-1") for name, value in headers]
        return b"\r\n".join(lines) + b"\r\n\r\n" + (self.body or b"")


class Generator:
    def __init__(self, document, seed):
        self.document = document
        self.random = random.Random(seed)
        # A handful, so that requests meet what others have left.
        self.ids = [f"b-{n}" for n in range(8)] + ["a/b", "é", "x" * 128]
        self.tags = {}  # the latest of each target
        self.operations = [operation for operation in document.operations
                           for _ in range(3 if operation.body_schema or
                                          operation.parameters_in("header") else 1)]

    def chance(self, of):
        return self.random.random() < of

    # Values

    def text(self, schema):
        r = self.random
        least, most = schema.get("minLength", 0), schema.get("maxLength", 40)
        letters = string.ascii_letters + string.digits
        length = r.choice([least, least, least + 1, min(most, 7), most, most, most + 1])
        return "".join(r.choice(letters) for _ in range(length))

    def good(self, name, schema):
        """Mostly; it is the document that judges."""
        r = self.random
        schema = self.document.resolve(schema)
        if "enum" in schema:
            return r.choice(schema["enum"])
        kinds = schema.get("type", "object")
        # Of several kinds the first is what it mostly is.
        kind = r.choice([kinds[0], *kinds]) if isinstance(kinds, list) else kinds
        if name == "id":
            return r.choice(self.ids)
        if name == "ip":
            return r.choice(["10.1.2.3", "10.255.0.1", "fd00::1", "::ffff:10.1.1.1"])
        if name == "country" and kind == "string":
            return r.choice(["BR", "br", "US"])
        if name == "app":
            return r.choice(["web", "db"])
        if name == "region":
            return r.choice(["sa", "us", "a" * 32])
        if kind == "string":
            return self.text(schema)
        if kind == "integer":
            low, high = schema.get("minimum", 0), schema.get("maximum", 100)
            return r.choice([low, low, high, high, *[r.randint(low, high) for _ in range(6)],
                             low - 1, high + 1])
        if kind == "boolean":
            return self.chance(0.5)
        if kind == "object":
            return self.object(schema)
        return None

    def object(self, schema):
        required = schema.get("required", [])
        return {name: self.good(name, inner) for name, inner in schema["properties"].items()
                if self.chance(0.98 if name in required else 0.4)}

    def bad(self, schema):
        r = self.random
        return r.choice([
            lambda: r.choice(TEXTS), lambda: r.choice(NUMBERS), lambda: r.choice(OTHERS),
            lambda: self.text(self.document.resolve(schema)),
            lambda: "".join(chr(r.choice([r.randrange(1, 0xd800), r.randrange(0xe000, 0x110000)]))
                            for _ in range(r.choice([1, 5, 64, 65, 128, 129])))])()

    # Bodies

    def mutated(self, body, schema):
        r = self.random
        properties = schema["properties"]
        for _ in range(r.choice([1, 1, 1, 2, 3])):
            name = r.choice(list(properties))
            what = r.randrange(4)
            if what == 0:
                body.pop(name, None)
            elif what == 1:
                body[r.choice(["extra", "", "ID", "script", "state", "healthy", "\0", "é" * 200])] = 1
            else:
                body[name] = self.bad(properties[name])
        return body

    def broken_text(self, text):
        r = self.random
        at = r.randrange(len(text) + 1)
        return r.choice([
            lambda: text[:at],
            lambda: text[:at] + bytes([r.randrange(256)]) + text[at:],
            lambda: text[:at] + bytes([r.randrange(256)]) + text[at + 1:],
            lambda: text + text,
            lambda: b"[" * r.choice([10, 3000, 16384]),
            lambda: b'{"a":' * r.choice([10, 2500]) + b"1" + b"}" * 10,
            lambda: text[:-1] + b',"id":"b-1","id":"b-2"}',
            lambda: text.replace(b'":', b'":\\u0000', 1),
            lambda: text[:-1] + b',"port":' + b"9" * 400 + b"}",
            lambda: text[:-1] + b',"weight":NaN}',
            lambda: text.replace(b'"web"', b'"\\ud800"'),
            lambda: text.replace(b'"web"', b'"\xed\xa0\x80"'),
            lambda: b"\xef\xbb\xbf" + text,
            lambda: text.decode().encode("utf-16"),
            lambda: b"", lambda: b"null", lambda: b"0", lambda: b'"x"', lambda: b"{}",
            lambda: text + b" " * (16384 - len(text)), lambda: text + b" " * (16385 - len(text)),
            lambda: b" " * r.choice([20000, 200000])])()

    def body(self, operation, request):
        schema = self.document.resolve(operation.body_schema)
        value = self.object(schema)
        if "{id}" in operation.path and self.chance(0.9):
            value.pop("id", None)
        if self.chance(0.5):
            value = self.mutated(value, schema)
        body = json.dumps(value, ensure_ascii=self.chance(0.5)).encode("utf-8", "replace")
        if self.chance(0.2):
            body = self.broken_text(body)
        request.body = body
        request.refused |= self.document.refuses_body(operation, body)
        media = operation.media
        if self.chance(0.1):
            media = self.random.choice(["text/plain", "application/jsonx", "", "application/x;json",
                                        "multipart/form-data; boundary=x", None])
            request.refused = True
        elif self.chance(0.1):
            media = self.random.choice(["Application/JSON", "application/json; charset=utf-8"])
        if media is not None:
            request.headers.append(("Content-Type", media))

    # The rest of a request

    def path(self, operation):
        path = operation.path
        for name, parameter in operation.parameters_in("path").items():
            value = self.good(name, parameter["schema"])
            if self.chance(0.15):
                value = str(self.bad(parameter["schema"]))
            text = urllib.parse.quote(value.encode("utf-8", "replace"), safe="")
            if self.chance(0.05):
                text += self.random.choice(["%", "%0", "%zz", "%00", "%2", "%C0%AF", "%FF", ";x", "\xff"])
            path = path.replace("{" + name + "}", text)
        return path

    def query(self, operation, request):
        r = self.random
        known = operation.parameters_in("query")
        parts = []
        for name, parameter in known.items():
            if not self.chance(0.3):
                continue
            value = self.good(name, parameter["schema"])
            if self.chance(0.3):
                value = self.bad(parameter["schema"])
            text = value if isinstance(value, str) else json.dumps(value)
            parts.append(f"{name}={urllib.parse.quote(text.encode('utf-8', 'replace'), safe='')}")
        if self.chance(0.1):
            parts.append(r.choice(["nonsense=1", "app=a&app=b", "limit", "limit=", "=", "app=%zz",
                                   "after=%00", "\xff\xfe=1", "\xff=\xff", "after=%FF", "%61pp=web",
                                   "limit=0010", "limit=+5", "limit=5%20"]))
        if self.chance(0.03):
            parts += [f"p{n}=1" for n in range(r.choice([9, 100]))]
        if parts:
            query = "&".join(parts)
            request.refused |= self.document.refuses_query(operation, query)
            request.target += "?" + query

    def conditions(self, operation, request):
        for name in operation.parameters_in("header"):
            if self.chance(0.2):
                known = self.tags.get(request.target, '"0"')
                value = self.random.choice([known, known, known, "W/" + known, "*", '"x", "y"', "x", "",
                                            "W/", '"' * 5, "\xff", '"' + "y" * 5000 + '"', "*, *"])
                request.headers.append((name, value))

    def break_http(self, request):
        """Something that is no HTTP, or so much of it that nobody takes it."""
        r = self.random
        request.is_http = False
        data = request.encode()
        return r.choice([
            lambda: data.replace(b"HTTP/1.1", r.choice([b"HTTP/9.9", b"HTTX/1.1", b"", b"HTTP/1.0"]), 1),
            lambda: data.replace(b"\r\n", b"\r\n" + b"".join(
                b"X-%d: %s\r\n" % (n, b"y" * 50) for n in range(r.choice([50, 1000]))), 1),
            lambda: data.replace(b" /", b" /" + b"z" * r.choice([4000, 40000]), 1),
            lambda: data.replace(b"\r\n", b"\r\nContent-Length: " + r.choice(
                [b"-1", b"x", b"99999999999999999999", b"1\r\nContent-Length: 2"]) + b"\r\n", 1),
            lambda: data.replace(b"\r\n", b"\r\nTransfer-Encoding: " + r.choice(
                [b"chunked", b"gzip", b"chunked, chunked"]) + b"\r\n", 1) + r.choice(
                    [b"zz\r\n", b"-1\r\n", b"5\r\nab", b"ffffffffffffffff1\r\n"]),
            lambda: data.replace(b"\r\n", b"\r\n bad: folded\r\n", 1),
            lambda: data.replace(b"Host: 127.0.0.1", r.choice([b"Host", b": x", b"Ho\0st: x", b"\xff"]), 1),
            lambda: bytes(r.randrange(256) for _ in range(r.choice([1, 10, 300]))) + b"\r\n\r\n",
            lambda: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 200 + b"\r\n\r\n",
            lambda: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            lambda: data[:r.randrange(1, len(data))],
            lambda: data * 3])()

    def next(self):
        """A request and its bytes."""
        r = self.random
        operation = r.choice(self.operations)
        request = Request(operation.method, self.path(operation))
        if self.chance(0.05):
            request.target = r.choice(["/", "//", "*", "/api/v1", "/api/v1/backends/", "/api/v2/backends",
                                       "/openapi.json/", "/%68ealth", "/health%00", "/healthz?" + "&" * 50,
                                       "/../health", "http://127.0.0.1/health", "/api/v1/backends/a/b/c"])
        if self.chance(0.07):
            request.method = r.choice(METHODS)
        meant = self.document.find(request.method, request.target)
        if meant is not None:
            self.query(meant, request)
            self.conditions(meant, request)
        if operation.body_schema is not None:
            self.body(operation, request)
            if meant is not operation:
                request.refused = False
        elif self.chance(0.1):
            request.body = r.choice([b"{}", b"x" * 16384, b"x" * 16385, b"\0" * 100])
        if self.chance(0.05):
            request.headers += r.choice([
                [("Origin", "http://evil.example")], [("Authorization", "Bearer " + "x" * 300)],
                [("Accept", "text/html")], [("Expect", "100-continue")], [("X-\xff", "\xff")],
                [("Content-Encoding", "gzip")], [(f"X-{n}", "y") for n in range(40)]])
        if "\x7f" in request.method or request.method == "CONNECT" or request.target == "*":
            request.is_http = False
        data = self.break_http(request) if self.chance(0.06) else request.encode()
        return request, data


def first_event(answer):
    """The data of the first event of a stream, which has no end; of HEAD there is none."""
    for line in iter(answer.readline, b""):
        if line.startswith(b"data: "):
            return line[6:].rstrip(b"\n")
    return b""


def exchange(addr, data, patience_secs=60, half_closed=True):
    """The answer to these bytes: status, headers, body; None where there was none."""
    with socket.create_connection(addr, timeout=patience_secs) as sock:
        try:
            sock.sendall(data)
            if half_closed:
                sock.shutdown(socket.SHUT_WR)
        except (ConnectionError, OSError):
            pass  # an answer may have come before the end of a body that is too long
        answer = http.client.HTTPResponse(sock, method=data.split(b" ", 1)[0].decode("latin-1"))
        try:
            answer.begin()
            read = first_event if answer.headers.get_content_type() == "text/event-stream" \
                else http.client.HTTPResponse.read
            return answer.status, answer.headers, read(answer)
        except (http.client.HTTPException, ConnectionError, TimeoutError):
            return None


def hold(document, request, answer):
    if answer is None:
        if request.is_http and len(request.body or b"") <= 16384 * 8:
            raise openapi.Broken("no answer")
        return
    status, headers, body = answer
    if not request.is_http and status in PROTOCOL_ERRORS:
        return
    # Viewers who have left are noticed by the next snapshot, so their places may all be taken.
    if status >= 500 and (status, request.target.split("?")[0]) not in (
            (503, "/readyz"), (503, "/api/v1/live")):
        raise openapi.Broken(f"{status}: {body[:200]!r}")
    if not request.is_http:
        return
    if request.refused and status < 400:
        raise openapi.Broken(f"{status} to what the document refuses")
    if status == 405 and not headers.get("Allow"):
        raise openapi.Broken("405 without Allow")
    document.hold(request.method, request.target, status, headers, body)


# Not expected to succeed: what ends sessions is not sent (one pings all the time), chance finds no
# session's id, and one is answered at the control socket only. test_control.py has them all.
SPARED = {"DELETE /api/v1/sessions", "DELETE /api/v1/sessions/{id}", "GET /api/v1/sessions/{id}",
          "GET /api/v1/clients"}


def waits(request):
    """Answered when the workers have spoken: libmicrohttpd takes an ended side for the end of a
    client that waits."""
    return request.is_http and request.target.startswith(("/api/v1/sessions", "/api/v1/bindings"))


def ends_sessions(request):
    return request.method == "DELETE" and request.target.startswith("/api/v1/sessions")


def fuzz(addr, document, seed, count, ping=lambda: None):
    """Returns how often each operation gave each status."""
    generator = Generator(document, seed)
    seen = {}
    for n in range(count):
        request, data = generator.next()
        if ends_sessions(request) and not request.refused:
            continue
        # Half a request is waited for by the API; not here.
        answer = exchange(addr, data, 60 if request.is_http else 0.1, not waits(request))
        try:
            hold(document, request, answer)
        except openapi.Broken as broken:
            raise openapi.Broken(f"seed {seed}, request {n}: {broken}\n{data[:1000]!r}\n"
                                 f"was answered with {str(answer and answer[2])[:600]}") from None
        if answer and request.is_http:
            operation = document.find(request.method, request.target)
            key = str(operation or "none"), answer[0]
            seen[key] = seen.get(key, 0) + 1
            if answer[1].get("ETag"):
                generator.tags[request.target] = answer[1]["ETag"]
        if n % PING_EVERY == 0:
            ping()
    return seen


@pytest.fixture
def api(start, db, peer):
    """A proxy with a client that is served, the API's address, and the document it serves."""
    db.add("operators", peer(Echo))
    proxy = start(**ENV)
    proxy.api = split_addr(proxy.wait_event("api_listening")["addr"])
    proxy.client = proxy.connect("200.160.2.3")

    def ping():
        proxy.client.sendall(b"ping")
        assert proxy.client.recv(4) == b"ping"
        assert proxy.process.poll() is None
    proxy.ping = ping
    status, _, body = exchange(proxy.api, Request("GET", "/openapi.json").encode())
    assert status == 200
    proxy.document = openapi.Document(json.loads(body))
    yield proxy
    proxy.client.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_answers_are_as_documented(api, seed):
    seen = fuzz(api.api, api.document, seed, REQUESTS, api.ping)
    # It has come to each operation, with success, and to most of what may be wrong.
    assert {operation for operation, status in seen if status < 300} == {
        str(operation) for operation in api.document.operations} - SPARED
    assert {200, 201, 304, 400, 404, 405, 409, 412, 413, 415} <= {status for _, status in seen}
    assert not api.log.find("row_quarantined"), "what was accepted routes nobody"
    assert not api.log.find("api_database_failed")


def falsify(document, what):
    schemas = document["components"]["schemas"]
    if what == "a status":
        del document["paths"]["/api/v1/backends/{id}"]["put"]["responses"]["201"]
    elif what == "a type":
        schemas["Backend"]["properties"]["weight"]["type"] = "string"
    elif what == "a member":
        schemas["Registered"]["required"].append("never")
    elif what == "an unknown member":
        del schemas["Backend"]["properties"]["pop"]
    elif what == "a bound":
        for name in ("weight", "soft_limit", "hard_limit"):
            schemas["RegistrationOfPath"]["properties"][name]["maximum"] = 100
    elif what == "a field":
        schemas["Registration"]["required"].append("country")
    elif what == "a header":
        document["components"]["headers"]["ETag"]["schema"]["pattern"] = "^never$"


@pytest.mark.parametrize("what", ["a status", "a type", "a member", "an unknown member", "a bound",
                                  "a field", "a header"])
def test_a_false_document_is_found_out(api, what):
    """The fuzzer can fail."""
    false = copy.deepcopy(api.document.document)
    falsify(false, what)
    with pytest.raises(openapi.Broken):
        fuzz(api.api, openapi.Document(false), 1, 4 * REQUESTS)
