"""An OpenAPI document as tests use it: which operation a request means, whether a request is good
by it, and whether an answer is one that it promises."""

import functools
import json
import re
import urllib.parse

import jsonschema


class Broken(AssertionError):
    """An answer is not what the document promises."""


class Operation:
    def __init__(self, document, path, method, what):
        self.document = document
        self.path = path
        self.method = method.upper()
        self.responses = {status: document.resolve(r) for status, r in what["responses"].items()}
        self.parameters = [document.resolve(p) for p in what.get("parameters", [])]
        body = document.resolve(what.get("requestBody", {}))
        self.media = next(iter(body.get("content", {None: {}})))
        self.body_schema = body["content"][self.media]["schema"] if body else None
        self.pattern = re.compile(re.sub(r"\{\w+\}", "[^/]+", path))

    def __str__(self):
        return f"{self.method} {self.path}"

    def parameters_in(self, where):
        return {p["name"]: p for p in self.parameters if p["in"] == where}


class Document:
    def __init__(self, document):
        self.document = document
        self.resolver = jsonschema.RefResolver.from_schema(document)
        self.operations = [Operation(self, path, method, what)
                           for path, methods in document["paths"].items()
                           for method, what in methods.items()]

    def resolve(self, thing):
        while "$ref" in thing:
            thing = self.resolver.resolve(thing["$ref"])[1]
        return thing

    def find(self, method, target):
        """The operation of a request, or None. HEAD means what GET does."""
        path = target.split("?")[0]
        method = "GET" if method == "HEAD" else method
        for operation in self.operations:
            if operation.method == method and operation.pattern.fullmatch(path):
                return operation
        return None

    @functools.lru_cache(maxsize=None)  # noqa: B019 # a document lives as long as its test
    def _validator(self, schema):
        return jsonschema.Draft202012Validator(json.loads(schema), resolver=self.resolver)

    def why_not(self, schema, value):
        """What is wrong with a value, or None."""
        error = next(self._validator(json.dumps(schema)).iter_errors(value), None)
        return error and f"{error.json_path}: {error.message}"[:300]

    # Requests

    def refuses_body(self, operation, body):
        """True where the document says that these bytes are no good body."""
        try:
            return self.why_not(operation.body_schema, parse(body)) is not None
        except (ValueError, RecursionError):
            return True

    def refuses_query(self, operation, query):
        """The same of a query. Only operations that have parameters say anything of theirs."""
        known = operation.parameters_in("query")
        if not known:
            return False
        seen = set()
        for part in query.split("&"):
            name, _, text = part.partition("=")
            text = urllib.parse.unquote_to_bytes(text)
            if name not in known or name in seen or b"\0" in text:
                return True
            seen.add(name)
            if self.why_not(known[name]["schema"], from_text(known[name]["schema"], text)):
                return True
        return False

    # Answers

    def hold(self, method, target, status, headers, body):
        """The answer must be one that the document has for this request; headers is a mapping that
        does not mind case."""
        operation = self.find(method, target)
        if operation is None:
            if status not in (400, 403, 404, 405, 413, 429):
                raise Broken(f"{status}, and there is no such operation")
            response = self.resolve(self.document["components"]["responses"]["Problem"])
        else:
            response = operation.responses.get(str(status))
            if response is None:
                raise Broken(f"{operation} does not say {status}")
        for name, header in response.get("headers", {}).items():
            header = self.resolve(header)
            if name not in headers:
                if header.get("required"):
                    raise Broken(f"{status} without {name}")
            elif self.why_not(header["schema"], headers[name]):
                raise Broken(f"{name}: {headers[name]}")
        self._hold_body(method, status, response.get("content"), headers, body)

    def _hold_body(self, method, status, content, headers, body):
        if method == "HEAD" or content is None:
            if body:
                raise Broken(f"{status} with a body: {body[:100]!r}")
            return
        content = {kind.split(";")[0]: what for kind, what in content.items()}
        media = headers.get("Content-Type", "").split(";")[0]
        if media not in content:
            raise Broken(f"{status} is of type {media}")
        if media == "text/html":
            return
        try:
            plain = not media.endswith("json") and media != "text/event-stream"  # of it: one event
            answer = body.decode("utf-8") if plain else parse(body)
        except ValueError as error:
            raise Broken(f"{status}: {error}: {body[:200]!r}") from None
        why = self.why_not(content[media]["schema"], answer)
        if why:
            raise Broken(f"{status}: {why}")
        if media == "application/problem+json" and answer["status"] != status:
            raise Broken(f"{status} that says {answer['status']}")


def parse(body):
    """JSON as the API reads it: UTF-8, no key twice, no numbers but JSON's."""
    def once(pairs):
        keys = [key for key, _ in pairs]
        if len(set(keys)) != len(keys):
            raise ValueError("a key comes twice")
        return dict(pairs)

    def never(text):
        raise ValueError(f"{text} is no number")
    return json.loads(body.decode("utf-8"), object_pairs_hook=once, parse_constant=never)


def from_text(schema, text):
    """What a parameter's text stands for, by its schema; text where it stands for nothing. The
    document says nothing of bytes that are no UTF-8: each counts as a letter."""
    text = text.decode("utf-8", "surrogateescape")
    if schema.get("type") == "integer" and re.fullmatch(r"[0-9]{1,30}", text):
        return int(text)
    if schema.get("type") == "boolean" and text in ("true", "false"):
        return text == "true"
    return text
