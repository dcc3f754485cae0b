"""The command line of control, without a control: bad input is one sentence and exit status 2."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from remora.control.cli import build_parser, main
from remora.control.client import show

POLICY = """
apiVersion: mesh.remora.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: reviews}
spec: {targetRefs: [{kind: Service, group: "", name: reviews}]}
"""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "COMMAND"),
        (["nope"], "invalid choice: 'nope'"),
        (["run", "--grpc", "x"], "--grpc: 'x' has no port"),
        (["run", "--http", ":99999"], "--http: '99999' is not a port"),
        (["run", "--etcd", "ftp://a:1"], "--etcd"),
        (["run", "--etcd-user", "a"], "go together"),
        (["run", "--etcd-cert", __file__], "go together"),
        (["run", "--etcd-ca", "/nope"], "--etcd-ca: there is no file '/nope'"),
        (["run", "--env", "A/b"], "--env: 'A/b' is not"),
        (["run", "--log-level", "loud"], "--log-level: 'loud' is not one of debug"),
        (["apply"], "-f"),
        (["apply", "-f", "/nope"], "'/nope'"),
        (["get", "httproutes", "-o", "xml"], "--output: 'xml' is not one of table, yaml, json"),
        (["get", "httproutes", "-n", "A"], "--namespace: 'A' is not"),
        (["get", "pods"], "there is no kind 'pods' (allowed: HTTPRoute"),
        (["delete", "httproute"], "either KIND NAME or -f FILE"),
        (["delete"], "either KIND NAME or -f FILE"),
        (["status", "--control", "127.0.0.1:1"], "--control: '127.0.0.1:1' is not a URL"),
    ],
)
def test_bad_input_is_one_sentence(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("control: ")


@pytest.mark.parametrize(
    ("variable", "value", "arguments"),
    [
        ("CONTROL_GRPC", "x", ["run"]),
        ("CONTROL_HTTP", ":x", ["run"]),
        ("CONTROL_ETCD_CA", "/nope", ["run"]),
        ("CONTROL_ENV", "A b", ["run"]),
        ("CONTROL_LOG_LEVEL", "loud", ["run"]),
        ("CONTROL_ETCD_PORT", "-1", ["run"]),
        ("CONTROL_URL", "nope", ["status"]),
    ],
)
def test_a_bad_variable_is_named(
    variable: str,
    value: str,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, value)
    assert main(arguments) == 2
    assert f"environment variable {variable}: " in capsys.readouterr().err


def test_variables_set_what_flags_set() -> None:
    environ = {"CONTROL_ETCD": "http://a:1", "CONTROL_ENV": "prod", "CONTROL_GRPC": "[::1]:5", "CONTROL_DATA_DIR": "/d"}
    parsed = build_parser(environ).parse_args(["run"])
    assert (parsed.etcd, parsed.env, str(parsed.grpc), parsed.data_dir) == ("http://a:1", "prod", "[::1]:5", Path("/d"))
    assert build_parser({"CONTROL_URL": "http://c:1"}).parse_args(["status"]).control == "http://c:1"


def test_offline_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(POLICY)
    (tmp_path / "notes.txt").write_text("no document")
    assert main(["check", "--offline", "-f", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "TrafficPolicy default/reviews good\n"
    (tmp_path / "b.yml").write_text(POLICY)
    (tmp_path / "c.json").write_text(json.dumps({"kind": "TrafficPolicy", "spec": {}}))
    assert main(["check", "--offline", "-f", str(tmp_path)]) == 2
    errors = capsys.readouterr().err
    assert f"{tmp_path}/c.json: TrafficPolicy: metadata: this field is required" in errors
    assert "more than one file has this document" in errors


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a: [\n"))
    assert main(["check", "--offline", "-f", "-"]) == 2
    assert "standard input: line 2" in capsys.readouterr().err


def test_no_control_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--control", "http://127.0.0.1:1"]) == 1
    error = capsys.readouterr().err
    assert error == "control: no control answers at http://127.0.0.1:1: connection refused (see --control)\n"
    assert error.count("\n") == 1


def test_tables_are_aligned() -> None:
    assert show.table(("A", "BBB"), [("aaa", "b")]) == "A     BBB\naaa   b\n"
