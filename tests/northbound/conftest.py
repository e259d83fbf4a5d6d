from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from asa.northbound.openapi import document
from asa.northbound.resources import ROUTES
from asa.northbound.server import Server
from asa.northbound.serving import HttpServer

from .double import Double
from .raw import Answer, Raw
from .remote import Pki

UNBOUND = 10**9
"""Requests a second, where something else is tested."""


class Described:
    """The OpenAPI document as judge of what the server answers."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = json.loads(json.dumps(document(ROUTES)))

    def check(self, method: str, target: str, answer: Answer) -> None:
        """The status must be documented for the operation, and the body fit its schema."""
        path = target.partition("?")[0]
        for pattern, methods in self.document["paths"].items():
            if re.fullmatch(re.sub(r"{\w+}", "[^/]+", pattern), path) and method.lower() in methods:
                if pattern != path and path in self.document["paths"]:
                    continue
                response = methods[method.lower()]["responses"][str(answer.status)]
                ((media, content),) = response["content"].items()
                assert answer.headers["content-type"] == media
                schema = content["schema"]
                break
        else:
            schema = {"$ref": "#/components/schemas/Error"}
        jsonschema.Draft202012Validator(schema | {"components": self.document["components"]}).validate(
            answer.json() if answer.headers["content-type"].startswith("application/json") else answer.body.decode()
        )


class Api:
    """Asks, and has each answer judged."""

    def __init__(self, raw: Raw, described: Described) -> None:
        self._raw = raw
        self._described = described

    def __call__(self, method: str, target: str, body: Any = None, **headers: str) -> Answer:
        renamed = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self._raw.ask(method, target, body, headers=renamed)
        self._described.check(method, target, answer)
        return answer


@pytest.fixture(scope="session")
def described() -> Described:
    return Described()


@pytest.fixture(autouse=True)
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers look often whether they are to stop: most of the time of these tests would go there."""
    monkeypatch.setattr(HttpServer, "expiration_interval", 0.01)


@pytest.fixture
def double() -> Double:
    return Double()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "api"


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """Not changed by any test."""
    return Pki(tmp_path_factory.mktemp("pki") / "files")


@pytest.fixture
def server(double: Double, path: Path, pki: Pki) -> Iterator[Server]:
    server = Server(double, path, remote=pki.remote(), workers=8, rate=UNBOUND)
    server.start()
    yield server
    server.stop(1.0)


@pytest.fixture
def raw(server: Server, path: Path) -> Iterator[Raw]:
    with Raw(path) as raw:
        yield raw


@pytest.fixture
def api(raw: Raw, described: Described) -> Api:
    return Api(raw, described)
