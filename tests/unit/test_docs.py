"""What the documentation names is there: links, make targets, flags, documents, failures, metrics."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from remora.cli.flags import Flags
from remora.cli.reference import flags_of, subcommands
from remora.control.cli import build_parser
from remora.documents.parse import parse_text
from remora.sidecar.cli import make_parser
from remora.sidecar.exchange import failures
from remora.sidecar.telemetry.metrics import grpc_status_name

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "charts/remora/README.md",
        *(ROOT / "examples").rglob("README.md"),
    ]
)

COMMANDS = {"sidecar": subcommands(make_parser(Flags("SIDECAR", {}))), "control": subcommands(build_parser({}))}
FOREIGN_FLAGS = {
    "--endpoints",
    "--prefix",
    "--print-value-only",
    "--target",
    "--set",
    "--port",
    "--version",
    "--seed",
    "--policies",
}
"""Of etcdctl, docker, helm, the examples, and what CONTRIBUTING.md runs."""

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def _anchors(page: Path) -> set[str]:
    """As GitHub makes them from headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _without_blocks(page: Path) -> str:
    return re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)


def _blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pages
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _without_blocks(page)):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{target} is not there"
        if anchor:
            assert anchor in _anchors(linked), f"{target}: there is no such heading"


@pages
def test_files_named_are_there(page: Path) -> None:
    places = (ROOT, page.parent, ROOT / "remora", ROOT / "remora/sidecar", ROOT / "remora/control")
    for name in re.findall(r"`([\w./*-]+/[\w.*-]*\.(?:py|yaml|md|proto|toml|svg))`", _without_blocks(page)):
        assert any(list(place.glob(name)) for place in places), f"{name} is not there"


@pages
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:`|^)make ([a-z]+)", page.read_text(), re.MULTILINE)
    assert set(named) <= targets


@pages
def test_flags_in_commands_exist(page: Path) -> None:
    for line in re.findall(r"(?:sidecar|control) [a-z]+ [^`\n|]*", page.read_text()):
        program, command, *words = line.split()
        if command not in COMMANDS[program]:
            continue
        known = flags_of(COMMANDS[program][command])
        for word in words:
            flag = re.match(r"-{1,2}[a-z][\w-]*", word)
            assert flag is None or flag[0] in known, f"{program} {command} has no {flag[0]}: {line}"


@pages
def test_commands_exist(page: Path) -> None:
    if page.name in ("README.md", "CHANGELOG.md"):
        return  # they also say which are not there yet
    for program, command in re.findall(r"`(sidecar|control) ([a-z]+)[ `]", page.read_text()):
        assert command in COMMANDS[program], f"there is no {program} {command}"


@pages
def test_flags_and_variables_in_text_exist(page: Path) -> None:
    parsers = [parser for commands in COMMANDS.values() for parser in commands.values()]
    known = FOREIGN_FLAGS.union(*map(flags_of, parsers))
    variables = set(re.findall(r"\[\$(\w+)\]", " ".join(" ".join(p.format_help().split()) for p in parsers)))
    text = page.read_text()
    for flag in re.findall(r"`(--[a-z][a-z-]+)", text):
        assert flag in known, f"no command has {flag}"
    for variable in re.findall(r"`((?:SIDECAR|CONTROL)_[A-Z_]+[A-Z])\b", text):
        assert variable in variables, f"nothing reads {variable}"


@pages
def test_documents_are_good(page: Path) -> None:
    for block in _blocks(page, "yaml"):
        parsed = parse_text(block, page.name)
        assert not parsed.errors, "\n".join(map(str, parsed.errors))
        assert parsed.documents


def test_no_field_is_a_truth_value_of_yaml() -> None:
    """YAML 1.1 reads `on:` as true, and so do we and Kubernetes' tools."""
    fields = re.findall(r"^\| `([\w.\[\]]+)` \|", (ROOT / "docs/policy.md").read_text(), re.MULTILINE)
    assert "spec.retry.conditions[]" in fields
    words = {"on", "off", "yes", "no", "y", "n", "true", "false"}
    assert not [field for field in fields if words & {part.removesuffix("[]") for part in field.split(".")}]


def test_every_failure_is_told() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    known = [value for value in vars(failures).values() if isinstance(value, failures.Failure)]
    for failure in known:
        grpc = grpc_status_name(b"%d" % failure.grpc_status)
        row = f"| `{failure.code}` | {failure.flag} | {failure.status} | {grpc} | "
        assert any(line.startswith(row) for line in text.splitlines()), f"there is no row {row}"


def test_every_refusal_of_a_codec_is_told() -> None:
    rows = re.findall(r"^\| (`[^|]*`) \| (\d{3}) \| ", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    told = {(code, status) for codes, status in rows for code in re.findall(r"`(\w+)`", codes)}
    source = "".join(path.read_text() for path in (ROOT / "remora/sidecar/wire").rglob("*.py"))
    raised = {(code, status) for status, code in re.findall(r'RefusedError\((\d{3}), "(\w+)"', source)}
    assert len(raised) >= 8
    assert raised == told


def test_every_metric_is_told() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    sources = [ROOT / "remora/sidecar/admin", ROOT / "remora/control/push", ROOT / "remora/control/compile"]
    names = {
        name
        for source in sources
        for path in source.glob("*.py")
        for name in re.findall(r"\"(mesh_[a-z_]+)\"", path.read_text())
    }
    assert names
    missing = {name for name in names if f"`{name}" not in text}
    assert not missing


@pages
def test_nothing_of_this_machine_is_told(page: Path) -> None:
    assert not re.search(r"/work/|/tmp/|/home/|/root/", page.read_text())
