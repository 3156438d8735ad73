"""The doctor: checks of what is really there; every trouble a line of its own, with its remedy."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import venv
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from server.doctor.checks import CHECKS
from server.doctor.examination import Check, Finding, examine, failure, ok, warning
from server.doctor.page import as_json, as_text
from server.doctor.process import NoAnswer, ServerProcess
from tests.conftest import ROOT

SERVER = [sys.executable, str(ROOT / "server" / "mcp_server.py"), "doctor"]
COMMAND = [sys.executable, str(ROOT / "client" / "mcp_client.py"), "doctor"]
#: All that a healthy Linux machine is told of; isolation is what no check can mend.
NAMES = [
    "Python", "packages", "settings", "projects directory", "state directory",
    "temporary directory", "sockets", "server", "first run", "fork server", "plot", "interrupt",
    "end", "memory", "limits", "sessions' Python", "environments", "checkpoints",
    "isolation", "HTTP port", "page", "tunnel", "clock", "text",
]  # fmt: skip


#: What a machine that is busy or small is told of.
MAY_WARN = {"server", "first run", "memory", "limits", "interrupt"}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Doctor:
    """The doctor of a machine with a home and a projects directory of its own."""

    def __init__(self, folder: Path) -> None:
        self.home, self.projects = folder / "home", folder / "projects"
        self.home.mkdir()
        kept = ("RMI_", "PYTHON_", "XDG_", "APPDATA")
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(kept)}
        self.environment |= {
            "HOME": str(self.home),
            "PYTHON_PROJECTS_DIR": str(self.projects),
            "RMI_PORT": str(free_port()),
            "LANG": "C.UTF-8",
        }

    def run(
        self, *words: str, command: list[str] = SERVER, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, **settings}
        return subprocess.run(
            [*command, *words], env=environment, capture_output=True, text=True, timeout=60
        )


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    return Doctor(tmp_path)


class Here:
    """Single checks in this process, whose environment is that of `doctor`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def set(self, **variables: str) -> None:
        for name, value in variables.items():
            self._monkeypatch.setenv(name, value)

    def find(self, *names: str) -> list[Finding]:
        return examine([check for check in CHECKS if check.name in names])


@pytest.fixture
def here(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> Here:
    for name in os.environ.keys() - doctor.environment.keys():
        monkeypatch.delenv(name)
    here = Here(monkeypatch)
    here.set(**doctor.environment)
    return here


class TestTheWhole:
    def test_nothing_fails_where_all_is_well(self, doctor: Doctor) -> None:
        """A real server has been started, used and ended; nothing of it is left."""
        pytest.importorskip("matplotlib")
        found = doctor.run("--json", AGENT_TEST_MARK="here")
        told = json.loads(found.stdout)
        assert [each["name"] for each in told["checks"]] == NAMES, found.stdout
        assert (found.returncode, found.stderr, told["ok"]) == (0, "", True)
        others = {each["name"] for each in told["checks"] if each["level"] != "ok"}
        assert others - MAY_WARN == {"isolation"}
        assert "kernels are forked" in str(told["checks"][NAMES.index("fork server")])
        assert list(doctor.projects.iterdir()) == []
        marked = []
        for process in psutil.process_iter():
            try:
                marked += [process.pid] * (process.environ().get("AGENT_TEST_MARK") == "here")
            except psutil.Error:
                continue
        assert marked == []

    def test_the_clients_command_writes_the_same_page(self, doctor: Doctor) -> None:
        found = doctor.run(command=COMMAND)
        assert (found.returncode, found.stderr) == (0, "")
        lines = found.stdout.splitlines()
        assert lines[0].startswith("ok      Python               CPython 3.")
        assert "warning isolation            none: code in a kernel can do anything" in found.stdout
        assert lines[-1].startswith("Nothing has failed; ")
        # One of them is of the hosts that name this server.
        assert lines[-1].endswith(f" in {len(NAMES) + 1} checks.")

    def test_wrong_words_are_refused(self, doctor: Doctor) -> None:
        found = doctor.run("--jsno")
        assert (found.returncode, found.stdout) == (2, "")
        assert found.stderr == (
            "rmi-agent-mcp-server: unknown argument '--jsno'; doctor takes --json alone.\n"
        )


class TestTroubles:
    def test_a_wrong_setting_is_named_and_the_rest_goes_on(self, doctor: Doctor) -> None:
        """What depends on the settings is not checked, and is no failure of its own."""
        found = doctor.run(PYTHON_TIMEOUT="soon")
        assert found.returncode == 1
        (line,) = [line for line in found.stdout.splitlines() if line.startswith("FAILURE")]
        assert "PYTHON_TIMEOUT is 'soon'; it must be a number of seconds above 0." in line
        assert "warning server               not checked, because the settings" in found.stdout
        assert "ok      sockets" in found.stdout

    def test_a_wrong_setting_of_the_http_server_is_named(self, here: Here) -> None:
        here.set(RMI_PORT="many")
        (settings,) = here.find("settings")
        assert settings.level == "failure"
        assert "RMI_PORT is 'many'" in settings.words
        assert here.find("HTTP port")[0].level == "warning"

    def test_a_python_without_ipykernel_fails_with_the_command_that_mends_it(
        self, here: Here, tmp_path: Path
    ) -> None:
        venv.create(tmp_path / "bare", with_pip=False)
        here.set(RMI_PYTHON=str(tmp_path / "bare"))
        (settings,) = here.find("settings")
        assert settings.level == "failure"
        assert "has no ipykernel, so it cannot run kernels. Install it with: " in settings.words
        assert here.find("sessions' Python", "server")[0].level == "warning"

    def test_a_python_that_does_not_run_fails(self, here: Here, tmp_path: Path) -> None:
        """Its files promise what it does not hold."""
        venv.create(tmp_path / "broken", with_pip=False)
        python = tmp_path / "broken" / "bin" / "python"
        sites = next((tmp_path / "broken" / "lib").iterdir()) / "site-packages"
        (sites / "ipykernel-7.4.0.dist-info").mkdir()
        (sites / "ipykernel-7.4.0.dist-info" / "METADATA").write_text("Name: ipykernel\n")
        python.unlink()
        python.write_text("#!/bin/sh\necho it is broken >&2\nexit 1\n")
        python.chmod(0o755)
        here.set(RMI_PYTHON=str(tmp_path / "broken"))
        (own,) = here.find("sessions' Python")
        assert own.level == "failure"
        assert "it is broken" in own.words
        server, run = here.find("server")
        assert (server.name, run.name, run.level) == ("server", "first run", "failure")
        assert server.level != "failure"

    def test_checkpoints_that_are_off_are_told(self, here: Here) -> None:
        (found,) = here.find("checkpoints")
        assert (found.level, found.words.partition(":")[0]) == ("ok", "kept where it is safe")
        here.set(RMI_CHECKPOINT="off")
        (found,) = here.find("checkpoints")
        assert (found.level, found.words.partition(":")[0]) == ("ok", "off (RMI_CHECKPOINT=off)")

    def test_a_port_that_is_taken_is_a_warning(self, here: Here) -> None:
        """It may be this very server's."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            here.set(RMI_PORT=port, RMI_PAGE=port)
            found = here.find("HTTP port", "page")
        for finding, variable in zip(found, ("RMI_PORT", "RMI_PAGE"), strict=True):
            assert finding.level == "warning"
            assert finding.words == f"127.0.0.1:{port} is taken"
            assert variable in finding.remedy

    def test_a_state_directory_that_cannot_be_made_fails(self, here: Here, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        here.set(RMI_STATE_DIR=str(tmp_path / "file" / "below"))
        (state,) = here.find("state directory")
        assert state.level == "failure"
        assert "RMI_STATE_DIR" in state.remedy

    def test_a_broken_kernelspec_is_a_warning_with_the_reason(
        self, here: Here, doctor: Doctor
    ) -> None:
        folder = doctor.home / "jupyter" / "kernels"
        for name, argv in {"bad": [], "gone": ["/no/such/R", "{connection_file}"]}.items():
            (folder / name).mkdir(parents=True)
            spec = {"argv": argv, "display_name": name, "language": "R"}
            (folder / name / "kernel.json").write_text(json.dumps(spec))
        here.set(JUPYTER_PATH=str(folder.parent))
        (found,) = here.find("environments")
        assert found.level == "warning"
        assert "kernelspecs of no use: bad, gone" in found.words
        assert "bad: The kernel 'bad' cannot be used" in found.remedy

    def test_programs_that_are_told_little_of_text_are_a_warning(self, doctor: Doctor) -> None:
        code = "import sys; from server.doctor import machine; print(*machine.text())"
        plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
        environment = {**doctor.environment, **plain, "PYTHONPATH": str(ROOT)}
        words = [sys.executable, "-c", code]
        found = subprocess.run(words, env=environment, capture_output=True, text=True).stdout
        assert "level='warning'" in found
        assert "LANG=C.UTF-8" in found


class TestAServerThatMisbehaves:
    def test_one_that_ends_says_its_last_words(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RMI_MAX_TIMEOUT", "soon")
        server = ServerProcess()
        try:
            with pytest.raises(NoAnswer, match=r"it has ended: .*RMI_MAX_TIMEOUT is 'soon'"):
                server.initialize()
        finally:
            server.end()

    def test_what_is_left_of_it_is_counted_and_killed(self, projects: Path) -> None:
        """A kernel's process, were it not ended with the server, would have its mark."""
        server = ServerProcess()
        try:
            server.initialize()
            server.call("run_code", code="1")
            assert server.close(seconds=0) != []
        finally:
            server.end()
        assert server.close(seconds=20) == []


class TestExamining:
    def test_a_check_that_crashes_is_one_failed_line(self) -> None:
        """What it had found before stays."""

        def crash() -> Iterator[Finding]:
            yield ok("first", "fine")
            raise RuntimeError("out of\norder")

        first, second = examine([Check("part", crash)])
        assert (first.name, first.level) == ("first", "ok")
        assert (second.name, second.level) == ("part", "failure")
        assert second.words == "the check failed: RuntimeError: out of order"
        assert second.remedy

    def test_a_check_that_hangs_is_one_failed_line_and_holds_no_other(self) -> None:
        """What it had started is ended."""
        forever, ended = threading.Event(), threading.Event()

        def hang() -> Iterator[Finding]:
            forever.wait()
            yield ok("never", "")

        try:
            checks = [
                Check("slow", hang, seconds=0.2, end=ended.set),
                Check("quick", lambda: [ok("quick", "fine")]),
            ]
            slow, quick = examine(checks)
        finally:
            forever.set()
        assert (slow.level, slow.words) == ("failure", "the check was not over after 0.2 s")
        assert ended.is_set()
        assert (quick.level, quick.words) == ("ok", "fine")

    def test_a_package_that_is_missing_says_how_to_get_it(self) -> None:
        def need() -> Iterator[Finding]:
            import no_such_module  # type: ignore[import-not-found]  # noqa: F401

            yield ok("never", "")

        (finding,) = examine([Check("part", need)])
        assert "No module named 'no_such_module'" in finding.words
        assert finding.remedy == "Install the project again: its packages are not all there."


class TestThePage:
    FOUND = (
        ok("Python", "3.11"),
        warning("limits", "few", "Raise them."),
        failure("server", "does not answer", "Look."),
    )

    def test_is_a_line_for_each_with_its_remedy_below(self) -> None:
        assert as_text(self.FOUND) == (
            "ok      Python  3.11\n"
            "warning limits  few\n"
            "                → Raise them.\n"
            "FAILURE server  does not answer\n"
            "                → Look.\n"
            "\n"
            "1 failure and 1 warning in 3 checks."
        )
        assert as_text(self.FOUND[:1]).endswith("\n\nAll 1 checks are ok.")
        assert as_text(self.FOUND[:2]).endswith("Nothing has failed; 1 warning in 2 checks.")

    def test_is_json_for_scripts(self) -> None:
        told = json.loads(as_json(self.FOUND))
        assert told["ok"] is False
        assert told["checks"][1] == {
            "name": "limits",
            "level": "warning",
            "words": "few",
            "remedy": "Raise them.",
            "seconds": 0.0,
        }
        assert json.loads(as_json(self.FOUND[:2]))["ok"] is True
