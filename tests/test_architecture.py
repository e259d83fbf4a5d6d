"""The shape of the house: which module may import which, read from the sources without running them."""

from __future__ import annotations

import ast
import importlib
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import grasp

ROOT = Path(grasp.__file__).parent.parent
PACKAGES = ("grasp", "objectives", "asa", "lab")
LONGEST = 400

GRASP = [
    ["grasp.constants", "grasp.errors", "grasp.limits", "grasp.cbor", "grasp.member"],
    ["grasp.wire"],
    [
        "grasp.seen",
        "grasp.rates",
        "grasp.session",
        "grasp.locators",
        "grasp.discovery",
        "grasp.flooding",
        "grasp.onlink",
        "grasp.calls",
    ],
    ["grasp.security"],
    ["grasp.transport"],
    ["grasp.core"],
    ["grasp.arguments", "grasp.negotiation", "grasp.api", "grasp.dull", "grasp"],
    ["grasp.rfc8991"],
    ["grasp.cli", "grasp.__main__"],
]

OBJECTIVES = [
    ["objectives.fields"],
    ["objectives.block", "objectives.node"],
    ["objectives.txn"],
    [
        "objectives.resource",
        "objectives.pact",
        "objectives.params",
        "objectives.agent",
        "objectives.reach",
        "objectives.revoked",
    ],
    ["objectives.holdings"],
    ["objectives"],
]

ASA = [
    ["asa", "asa.version", "asa.errors", "asa.btree"],
    ["asa.states"],
    ["asa.views", "asa.quantities", "asa.calendar", "asa.pool", "asa.records", "asa.flows", "asa.traffic", "asa.tegu"],
    ["asa.dataplane.match", "asa.dataplane.plan"],
    # The north side and the command know what is shown and asked for, and nothing of the agent behind it.
    ["asa.service", "asa.config", "asa.hosts", "asa.routing"],
    ["asa.dataplane"],
    ["asa.northbound"],
    ["asa.dataplane.deputy.server"],
    # The certificates of a domain: of an agent it knows what errors are.
    ["asa.domain"],
    ["asa.cli", "asa.__main__"],
    # The rules.
    [
        "asa.accounts",
        "asa.agenda",
        "asa.authority",
        "asa.credentials",
        "asa.diary",
        "asa.lifecycle",
        "asa.names",
        "asa.reach",
        "asa.troubles",
    ],
    ["asa.ledger", "asa.peers"],
    ["asa.caps", "asa.shortage", "asa.listing", "asa.alarms", "asa.terms", "asa.placement", "asa.desired"],
    [
        "asa.lending",
        "asa.refusals",
        "asa.transfer",
        "asa.reservations",
        "asa.pacts",
        "asa.expiry",
        "asa.seeding",
        "asa.audit",
        "asa.steps",
    ],
    [
        "asa.transfer",
        "asa.lending",
        "asa.reservations",
        "asa.pacts",
        "asa.expiry",
        "asa.seeding",
        "asa.audit",
        "asa.steps",
    ],
    ["asa.asking"],
    ["asa.answering", "asa.pairing"],
    # The shells.
    ["asa.books", "asa.clock", "asa.events", "asa.lists", "asa.seals", "asa.store", "asa.enforcement"],
    ["asa.identity", "asa.policy", "asa.performer", "asa.problems", "asa.installation", "asa.predecessor"],
    ["asa.membership", "asa.threads.duty"],
    ["asa.threads"],
    ["asa.oversight", "asa.manifest", "asa.whereabouts"],
    ["asa.auditor", "asa.inquiry", "asa.metrics", "asa.neighbourhood", "asa.presence", "asa.removal", "asa.salvaged"],
    ["asa.threads.warden"],
    ["asa.turns"],
    ["asa.desk"],
    ["asa.relocation"],
    ["asa.operations"],
    ["asa.agent", "asa.remote"],
    ["asa.main"],
]

LAB = [
    ["lab.netns"],
    ["lab.hosts", "lab.capture"],
    ["lab.markings", "lab.switch", "lab.traffic"],
    ["lab"],
    ["lab.domain"],
]

LAYERS = GRASP + OBJECTIVES + ASA + LAB
"""From the ground up. A module imports only from its own layer and those below it."""

AGENT_FOR_TYPES = {
    "asa.desk", "asa.inquiry", "asa.metrics", "asa.neighbourhood", "asa.operations", "asa.oversight", "asa.relocation",
    "asa.removal", "asa.threads.warden",
}  # fmt: skip
"""Parts of the agent that are handed the whole of it, and name it for the type checker only."""

FACE = {
    "grasp", "grasp.arguments", "grasp.calls", "grasp.cbor", "grasp.constants", "grasp.member", "grasp.rates",
    "grasp.security", "grasp.security.crl_fetch", "grasp.security.identity",
}  # fmt: skip
"""What of GRASP is there for an ASA; the rest is the node's own affair."""

WITHOUT_IO = [
    "grasp.constants", "grasp.errors", "grasp.limits", "grasp.cbor", "grasp.member",
    "grasp.wire", "grasp.wire.address", "grasp.wire.codec", "grasp.wire.locator", "grasp.wire.message",
    "grasp.wire.objective", "grasp.wire.relay", "grasp.wire.stream",
    "grasp.seen", "grasp.rates", "grasp.session", "grasp.locators", "grasp.discovery", "grasp.flooding", "grasp.onlink",
    "grasp.calls", "grasp.transport.links.announcements", "grasp.transport.links.candidates",
    "grasp.transport.links.pairing", "grasp.transport.links.phases",
    "grasp.security.acp_name", "grasp.security.certificates", "grasp.security.paths", "grasp.security.sealed",
    "grasp.core.registry",
    "objectives", "objectives.agent", "objectives.block", "objectives.fields", "objectives.holdings", "objectives.node",
    "objectives.pact", "objectives.params", "objectives.reach", "objectives.resource", "objectives.revoked",
    "objectives.txn",
    "asa.accounts", "asa.alarms", "asa.answering", "asa.asking", "asa.audit", "asa.btree", "asa.calendar", "asa.caps",
    "asa.authority", "asa.config.api", "asa.config.patterns", "asa.config.section", "asa.config.sections",
    "asa.config.security", "asa.config.values", "asa.credentials",
    "asa.diary", "asa.domain.addresses", "asa.domain.conversation", "asa.domain.invitation", "asa.errors", "asa.expiry",
    "asa.flows", "asa.ledger", "asa.lending",
    "asa.lifecycle", "asa.listing", "asa.pacts", "asa.pairing", "asa.peers", "asa.placement", "asa.pool",
    "asa.quantities", "asa.reach", "asa.records", "asa.refusals", "asa.reservations", "asa.shortage", "asa.states",
    "asa.terms", "asa.salvaged", "asa.seeding", "asa.service", "asa.steps", "asa.store.pages", "asa.store.rows",
    "asa.tegu", "asa.tegu.checkpoint", "asa.tegu.endpoints", "asa.tegu.fields", "asa.tegu.kinds", "asa.tegu.pledges",
    "asa.tegu.report", "asa.tegu.wishes", "asa.traffic", "asa.transfer", "asa.views", "asa.views.agents",
    "asa.views.events", "asa.views.reservations",
    "asa.agenda", "asa.dataplane", "asa.dataplane.backend", "asa.dataplane.composition",
    "asa.dataplane.deputy.vocabulary", "asa.dataplane.deputy.wire", "asa.dataplane.drift", "asa.dataplane.match",
    "asa.dataplane.nft.listing", "asa.dataplane.nft.ruleset", "asa.dataplane.nft.transaction",
    "asa.dataplane.openvswitch.flows", "asa.dataplane.openvswitch.pipeline", "asa.dataplane.openvswitch.queues",
    "asa.dataplane.openvswitch.rows", "asa.dataplane.openvswitch.topology", "asa.dataplane.plan",
    "asa.dataplane.planning", "asa.dataplane.proof", "asa.dataplane.record", "asa.dataplane.tc.classes",
    "asa.dataplane.tc.classifier", "asa.dataplane.tc.htb", "asa.dataplane.u32.filters", "asa.dataplane.u32.messages",
    "asa.dataplane.u32.tree", "asa.desired", "asa.names", "asa.troubles", "asa.views.enforcement",
]  # fmt: skip
"""Rules and values: sockets, threads, clocks and files are handed in, or better, not there."""

NONE_THE_LESS = {
    "grasp.security.paths": {"datetime"},
    "asa.config.api": {"pathlib"},
    "asa.config.sections": {"pathlib"},
    "asa.config.security": {"pathlib"},
    "asa.config.values": {"pathlib"},
    "asa.quantities": {"datetime"},
    "asa.peers": {"threading"},
    "asa.reach": {"threading"},
}
"""Paths that are only named, times that are only written, and a lock under which nothing else is taken."""

IO = {
    "asyncio", "concurrent", "datetime", "fcntl", "http", "io", "logging", "multiprocessing", "netifaces", "pathlib",
    "queue", "select", "selectors", "signal", "socket", "socketserver", "sqlite3", "ssl", "subprocess", "tempfile",
    "threading", "time", "urllib",
}  # fmt: skip


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}
TREES = {module: ast.parse(path.read_text()) for module, path in MODULES.items()}


def _of(*packages: str) -> list[str]:
    return [module for module in MODULES if module.partition(".")[0] in packages]


def _imported(module: str, tree: ast.AST) -> set[str]:
    """Every module imported anywhere below ``tree``, inside functions too."""
    found = set()
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= 1, f"{module} imports from far away"
            # Only the laboratory does it, which is no part of the distribution.
            base = f"{package}.{node.module}" if node.level else node.module
            assert base is not None
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                found.add(whole if whole in MODULES else base)
    return found


def _for_types(module: str) -> set[str]:
    """What is imported under ``if TYPE_CHECKING``."""
    blocks = [
        node
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    ]
    return {each for block in blocks for each in _imported(module, block)}


IMPORTS = {module: _imported(module, tree) for module, tree in TREES.items()}
FOR_TYPES = {module: _for_types(module) for module in MODULES}


def _layer(module: str) -> int:
    """The layer named by the longest prefix; a bare package only stands for itself."""
    fitting = [
        (len(name), level)
        for level, names in enumerate(LAYERS)
        for name in names
        if module == name or (name not in PACKAGES and module.startswith(f"{name}."))
    ]
    assert fitting, f"{module} has no layer: say in LAYERS where it belongs"
    return max(fitting)[1]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_downwards(module: str) -> None:
    ours = {each for each in IMPORTS[module] if each.partition(".")[0] in PACKAGES}
    assert ours <= set(MODULES)
    upwards = {each for each in ours if _layer(each) > _layer(module)}
    assert upwards == ({"asa.agent"} if module in AGENT_FOR_TYPES else set())


def test_the_agent_is_imported_by_its_parts_for_the_type_checker_only() -> None:
    assert {module for module in MODULES if "asa.agent" in FOR_TYPES[module]} == AGENT_FOR_TYPES
    assert {module for module in _of("asa") if "asa.agent" in IMPORTS[module] - FOR_TYPES[module]} == {"asa.main"}


def test_there_is_no_import_cycle() -> None:
    graph = {
        module: {each for each in found - FOR_TYPES[module] if each in MODULES} for module, found in IMPORTS.items()
    }
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
    assert set(order) == set(MODULES)


def _packages(module: str) -> set[str]:
    return {each.partition(".")[0] for each in IMPORTS[module]}


@pytest.mark.parametrize("module", _of("grasp"))
def test_the_protocol_knows_nothing_of_bandwidth_nor_of_the_laboratory(module: str) -> None:
    assert _packages(module) & {"asa", "objectives", "lab", "tests", "bench", "examples"} == set()


@pytest.mark.parametrize("module", _of("objectives"))
def test_the_objectives_know_of_the_protocol_nothing_but_the_wire(module: str) -> None:
    assert _packages(module) & {"asa", "lab", "tests", "bench", "examples"} == set()
    assert all(each == "grasp.wire" for each in IMPORTS[module] if each.partition(".")[0] == "grasp")


@pytest.mark.parametrize("module", _of("asa"))
def test_the_agent_uses_the_face_of_the_protocol_and_no_laboratory(module: str) -> None:
    assert _packages(module) & {"lab", "tests", "bench", "examples"} == set()
    assert {each for each in IMPORTS[module] if each.partition(".")[0] == "grasp"} <= FACE


@pytest.mark.parametrize("module", [each for each in _of("lab") if not each.startswith("lab.domain")])
def test_the_laboratory_knows_nothing_of_what_is_tried_in_it(module: str) -> None:
    assert _packages(module) & {"grasp", "objectives", "asa", "tests", "bench", "examples"} == set()


@pytest.mark.parametrize("module", WITHOUT_IO)
def test_a_module_of_rules_imports_nothing_that_does_io(module: str) -> None:
    assert _packages(module) & IO == NONE_THE_LESS.get(module, set())


@pytest.mark.parametrize("module", [each for each in WITHOUT_IO if each.partition(".")[0] == "asa"])
def test_the_agents_rules_speak_no_grasp_and_touch_no_disk(module: str) -> None:
    ours = IMPORTS[module] & set(MODULES)
    assert {each for each in ours if each.partition(".")[0] == "grasp"} == set()
    # Beside rows and pages, which are rules themselves, the name of one fact.
    fine = {"asa.store.rows", "asa.store.pages"} | ({"asa.identity"} if module == "asa.salvaged" else set())
    assert {each for each in ours if _layer(each) >= _layer("asa.books")} <= fine


def _says_so(module: str) -> bool:
    return re.search(r"\b(no|without) I/O\b", ast.get_docstring(TREES[module]) or "", re.IGNORECASE) is not None


def test_every_module_of_rules_and_every_one_below_the_api_that_says_it_does_no_io_is_in_the_list() -> None:
    says_so = {module for module in _of("grasp") if _layer(module) < _layer("grasp.api") and _says_so(module)}
    rules = {module for module in _of("grasp") if _layer(module) <= _layer("grasp.calls")}
    assert says_so | rules == {each for each in WITHOUT_IO if each.partition(".")[0] == "grasp"}


def test_every_objective_and_every_module_of_the_agent_that_says_it_does_no_io_is_in_the_list() -> None:
    listed = {each for each in WITHOUT_IO if each.partition(".")[0] != "grasp"}
    assert {*_of("objectives"), *(each for each in _of("asa") if _says_so(each))} <= listed
    assert {each for each in listed if each.partition(".")[0] == "asa" and not _says_so(each)} == {
        "asa.errors", "asa.service", "asa.views",
    }  # fmt: skip


def test_no_rule_reads_a_clock_or_opens_a_file() -> None:
    for module in WITHOUT_IO:
        for node in ast.walk(TREES[module]):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"open", "print", "input"}, module


def test_modules_are_small() -> None:
    lines = {module: len(path.read_text().splitlines()) for module, path in MODULES.items()}
    assert {module: count for module, count in lines.items() if count >= LONGEST} == {}


@pytest.mark.parametrize("package", ["grasp", "grasp.wire", "grasp.core", "grasp.rfc8991", "objectives"])
def test_public_names_are_listed_sorted_and_there(package: str) -> None:
    module = importlib.import_module(package)
    names = list(module.__all__)
    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(module, name)] == []
    assert not any(name.startswith("_") for name in names)


def test_every_public_class_and_function_of_grasp_says_what_it_is() -> None:
    undocumented = [
        name for name in grasp.__all__ if callable(value := getattr(grasp, name)) and not (value.__doc__ or "").strip()
    ]
    assert undocumented == []


def test_every_module_says_what_it_is_for() -> None:
    assert [module for module, tree in TREES.items() if not ast.get_docstring(tree)] == []
