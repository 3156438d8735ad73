"""What a change makes of a host's file: the server's entry, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.hosts.errors import HostError
from client.hosts.files import backup_of
from client.hosts.jsonc import read
from client.hosts.paths import HOSTS, Host
from client.hosts.planning import Plan, plan_install, plan_uninstall
from tests.client.hosts.jsonc_texts import OBJECTS, VALUES, texts

COMMAND = ("/v/bin/python", "/x/server/mcp_server.py")
ENTRY = {"command": COMMAND[0], "args": [COMMAND[1]]}
NAME = "rmi-agent"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.json"


def install(file: Path, host: str = "claude-desktop", **settings: str) -> Plan:
    return plan_install(HOSTS[host], file, NAME, COMMAND, settings)


def write(file: Path, whole: Any) -> str:
    text = whole if isinstance(whole, str) else json.dumps(whole, indent=4)
    file.write_text(text, encoding="utf-8", newline="")
    return text


class TestInstall:
    @pytest.mark.parametrize("text", [None, "", " \n"])
    def test_a_new_file_has_the_server_alone(self, file: Path, text: str | None) -> None:
        if text is not None:
            write(file, text)
        plan = install(file, A="b")
        assert plan.changes
        assert plan.after.endswith("}\n")
        assert json.loads(plan.after) == {"mcpServers": {NAME: {**ENTRY, "env": {"A": "b"}}}}

    @pytest.mark.parametrize("host", ["claude-code", "cursor", "vscode"])
    def test_other_hosts_want_the_kind(self, file: Path, host: str) -> None:
        section = "servers" if host == "vscode" else "mcpServers"
        expected = {section: {NAME: {"type": "stdio", **ENTRY}}}
        assert json.loads(install(file, host).after) == expected

    def test_what_was_set_before_stays_beside_what_is_set_now(self, file: Path) -> None:
        other = {"command": "npx", "args": ["x"]}
        former = {
            "disabled": False,
            "command": "python",
            "args": ["/old/server/mcp_server.py"],
            "env": {"RMI_POOL": "3", "PYTHON_TIMEOUT": "5"},
        }
        write(file, {"theme": "dark", "mcpServers": {NAME: former, "other": other}})
        plan = install(file, PYTHON_TIMEOUT="60", RMI_PAGE="1")
        env = {"RMI_POOL": "3", "PYTHON_TIMEOUT": "60", "RMI_PAGE": "1"}
        assert json.loads(plan.after) == {
            "theme": "dark",
            "mcpServers": {NAME: {"disabled": False, **ENTRY, "env": env}, "other": other},
        }
        assert list(json.loads(plan.after)["mcpServers"][NAME]) == list(former)

    def test_an_empty_setting_takes_one_away(self, file: Path) -> None:
        write(file, {"mcpServers": {NAME: {**ENTRY, "env": {"A": "1", "B": "2"}}}})
        assert install(file, A="", C="").new["env"] == {"B": "2"}

    def test_further_arguments_stay(self, file: Path) -> None:
        write(file, {"mcpServers": {NAME: {**ENTRY, "args": [COMMAND[1], "--page", "1", "-x"]}}})
        assert install(file).new["args"] == [COMMAND[1], "--page", "1", "-x"]
        assert install(file, RMI_PAGE="2").new["args"] == [COMMAND[1], "-x"]

    def test_what_is_no_table_of_variables_gives_way_to_one(self, file: Path) -> None:
        write(file, {"mcpServers": {NAME: {**ENTRY, "env": None}}})
        assert install(file, A="1").new["env"] == {"A": "1"}

    @pytest.mark.parametrize("other", [None, {}, {"url": "http://x/mcp"}, {"command": "npx"}])
    def test_another_server_of_the_name_stays(self, file: Path, other: Any) -> None:
        write(file, {"mcpServers": {NAME: other}})
        with pytest.raises(HostError, match="has another server named 'rmi-agent', which stays"):
            install(file)
        with pytest.raises(HostError, match="has another server named 'rmi-agent', which stays"):
            plan_uninstall(HOSTS["claude-desktop"], file, NAME)

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ('{\n  "mcpServers": {\n}', "line 3, column 2: the text ends too early"),
            ('{"a": 1,}', "line 1, column 8: a comma after the last item"),
            ("{} // mine", "line 1, column 4: a comment, which this file cannot have"),
            ("[]", "line 1, column 1: the whole must be an object in braces"),
            ('{"mcpServers": []}', "line 1, column 16: `mcpServers` must be an object in braces"),
        ],
    )
    def test_a_malformed_file_is_told_with_the_place(
        self, file: Path, text: str, reason: str
    ) -> None:
        write(file, text)
        for action in (
            lambda: install(file),
            lambda: plan_uninstall(HOSTS["claude-desktop"], file, NAME),
        ):
            with pytest.raises(HostError) as caught:
                action()
            assert str(caught.value) == (
                f"{file} is not such JSON as Claude Desktop reads ({reason}), and stays as it is. "
                "Correct it there, or move it away, and try again."
            )
        assert file.read_text() == text


class TestUninstall:
    def test_the_kept_file_comes_back_when_nothing_else_has_changed(self, file: Path) -> None:
        text = write(file, '{ "mcpServers" : { } }')
        plan = install(file)
        write(backup_of(file), text)
        write(file, plan.after)
        assert plan_uninstall(HOSTS["claude-desktop"], file, NAME).after == text

    def test_what_has_changed_since_stays(self, file: Path) -> None:
        text = write(file, {"theme": "dark"})
        plan = install(file)
        write(backup_of(file), text)
        write(file, plan.after.replace("dark", "light"))
        after = plan_uninstall(HOSTS["claude-desktop"], file, NAME).after
        assert json.loads(after) == {"theme": "light", "mcpServers": {}}

    @pytest.mark.parametrize("kept", ["", "{", '{"mcpServers": []}', b"\xff"])
    def test_what_is_kept_may_be_of_no_use(self, file: Path, kept: str | bytes) -> None:
        write(file, {"mcpServers": {NAME: ENTRY}})
        backup_of(file).write_bytes(kept.encode() if isinstance(kept, str) else kept)
        plan = plan_uninstall(HOSTS["claude-desktop"], file, NAME)
        assert json.loads(plan.after) == {"mcpServers": {}}

    @pytest.mark.parametrize("text", [None, "", "{}", '{"mcpServers": {"x": {}}}'])
    def test_where_it_is_not_there_is_nothing_to_do(self, file: Path, text: str | None) -> None:
        if text is not None:
            write(file, text)
        plan = plan_uninstall(HOSTS["claude-desktop"], file, NAME)
        assert plan.old is None
        assert text is None or not plan.changes


OF_HOST = st.sampled_from(list(HOSTS.values())).flatmap(
    lambda host: st.tuples(st.just(host), texts(host.lenient, _files(host)))
)


def _files(host: Host) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with or without servers, but with none of the name."""
    servers = st.dictionaries(st.sampled_from(["a", "b c", "ü"]), VALUES, max_size=3)
    whole = OBJECTS.map(lambda one: {key: one[key] for key in one if key != host.section})
    with_servers = st.tuples(whole, servers).map(lambda both: {**both[0], host.section: both[1]})
    return whole | with_servers


@given(OF_HOST, st.dictionaries(st.sampled_from(["A", "RMI_POOL"]), st.text("x", max_size=2)))
def test_any_file_gets_the_server_keeps_all_else_and_can_be_had_back(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[Host, str], settings: dict[str, str]
) -> None:
    host, text = case
    file = tmp_path_factory.mktemp("any") / "config.json"
    write(file, text)
    before = read(text, lenient=True).plain

    first = plan_install(host, file, NAME, COMMAND, settings)
    env = {key: value for key, value in settings.items() if value}
    expected = {
        **({"type": "stdio"} if host.typed else {}),
        **ENTRY,
        **({"env": env} if env else {}),
    }
    whole = read(first.after, lenient=host.lenient).plain
    assert whole == {**before, host.section: {**before.get(host.section, {}), NAME: expected}}

    write(file, first.after)
    again = plan_install(host, file, NAME, COMMAND, settings)
    assert not again.changes
    assert again.new == expected

    removed = plan_uninstall(host, file, NAME)
    empty = {} if host.section in before else {host.section: {}}
    assert read(removed.after, lenient=host.lenient).plain == {**before, **empty}
    write(backup_of(file), text)
    assert plan_uninstall(host, file, NAME).after == text
