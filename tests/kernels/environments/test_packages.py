"""Real installs from the package index into real environments, by uv and by pip."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kernels.environments.conflicts import broken
from kernels.environments.describing import describe
from kernels.environments.distributions import Distribution, installed
from kernels.environments.environment import Environment
from kernels.environments.installers import find_uv
from kernels.environments.packages import Installs, Outcome
from kernels.errors import EnvironmentUnfit
from tests.conftest import alive, until
from tests.kernels.environments.conftest import make_venv

pytestmark = pytest.mark.slow

#: An address that refuses every connection.
NO_NETWORK = {
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "UV_HTTP_RETRIES": "0",
    "UV_NO_CACHE": "1",
    "PIP_RETRIES": "0",
    "PIP_NO_CACHE_DIR": "1",
    "PIP_CONFIG_FILE": os.devnull,
}


def own_uv() -> str:
    found = find_uv(os.environ)
    if not found:
        pytest.skip("uv is not installed")
    return found


@pytest.fixture(scope="module")
def venv_with_pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `python -m venv` makes it, which takes its time; tests copy it."""
    venv = tmp_path_factory.mktemp("made") / ".venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    return venv


@pytest.fixture(params=["uv", "pip"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An empty venv, and the environment variables with which that program installs into it."""
    venv = tmp_path / ".venv"
    environ = dict(os.environ)
    if request.param == "uv":
        uv = own_uv()
        subprocess.run([uv, "venv", "-q", "--python", sys.executable, venv], check=True)
        environ["PATH"] = os.pathsep.join([os.path.dirname(uv), environ["PATH"]])
    else:
        shutil.copytree(request.getfixturevalue("venv_with_pip"), venv, symlinks=True)
        # As on a machine without uv, wherever it may be on this one.
        monkeypatch.setattr("kernels.environments.installers.find_uv", lambda *_: "")
    return Place(venv, request.param, environ)


class Place:
    """A venv in which one of the programs installs."""

    def __init__(self, venv: Path, program: str, environ: dict[str, str]) -> None:
        self.where: Environment = describe(str(venv / "bin" / "python"))
        self.program, self.environ = program, environ
        self.lines: list[str] = []
        self.installs = Installs()

    async def install(self, *packages: str, **environ: str) -> Outcome:
        """Install, with these variables besides."""
        outcome = await self.installs.install(
            self.where, packages, {**self.environ, **environ}, self.lines.append
        )
        assert outcome.installer == self.program
        return outcome

    def versions(self) -> dict[str, str]:
        """What is there, but for what every venv has."""
        found = installed(self.where)
        return {n: d.version for n, d in found.items() if n not in ("pip", "setuptools")}


# -- what it does


async def test_it_installs_updates_and_tells_what_has_changed(place: Place) -> None:
    outcome = await place.install("cowsay==6.0")
    (change,) = outcome.changes
    assert (change.name, change.before, change.after) == ("cowsay", "", "6.0")
    assert change.modules == {"cowsay"}
    assert place.lines[0] == f"checking with {place.program}: cowsay==6.0"
    outcome = await place.install("cowsay>=6.1,<7")
    (change,) = outcome.changes
    assert (change.before, change.after) == ("6.0", "6.1")
    assert place.versions() == {"cowsay": "6.1"}
    assert (await place.install("cowsay")).changes == ()


async def test_dependencies_are_told_too(place: Place) -> None:
    outcome = await place.install("markdown-it-py==3.0.0", "mdurl==0.1.2")
    assert {c.name: c.after for c in outcome.changes} == {
        "markdown-it-py": "3.0.0",
        "mdurl": "0.1.2",
    }


@pytest.mark.parametrize(
    ("packages", "words"),
    [
        (["cowsay==6.0", "cowsay==6.1"], "cowsay==6.0"),
        (["cowsay==99.9"], "99.9"),
        (["no-such-distribution-anywhere-2718"], "no-such-distribution-anywhere-2718"),
    ],
    ids=["conflict", "version", "name"],
)
async def test_what_cannot_be_is_told_in_the_installers_words_and_nothing_is_changed(
    place: Place, packages: list[str], words: str
) -> None:
    with pytest.raises(EnvironmentUnfit) as caught:
        await place.install("mdurl", *packages)
    assert str(caught.value).startswith(f"{place.program} cannot install mdurl, {packages[0]}")
    assert str(caught.value).endswith("nothing was changed.")
    assert words in caught.value.detail
    assert place.versions() == {}


async def test_without_a_network_that_is_said_and_nothing_is_changed(place: Place) -> None:
    """A proxy refuses the connection."""
    with pytest.raises(EnvironmentUnfit, match=r"nothing was changed\.$") as caught:
        await place.install("cowsay==6.1", **NO_NETWORK)
    assert "error" in caught.value.detail.lower()
    assert place.versions() == {}


async def test_what_would_break_an_installed_package_is_not_done(place: Place) -> None:
    """Neither uv nor pip looks at what is installed besides; both in one call go together."""
    await place.install("markdown-it-py==3.0.0", "mdurl==0.1.2")
    with pytest.raises(EnvironmentUnfit) as caught:
        await place.install("mdurl==0.0.1")
    words = "markdown-it-py 3.0.0 needs mdurl~=0.1, and 0.0.1 would be installed"
    assert words in str(caught.value) or words.replace("-", "_") in str(caught.value)
    assert place.versions()["mdurl"] == "0.1.2"


# -- one at a time, and to its end


async def test_two_into_one_environment_come_one_after_the_other(place: Place) -> None:
    first, second = await asyncio.gather(
        place.install("cowsay==6.1"), place.install("mdurl==0.1.2")
    )
    assert [c.name for c in first.changes] == ["cowsay"]
    assert [c.name for c in second.changes] == ["mdurl"]
    assert f"waiting for another install into {place.where.title}" in place.lines
    begun, next_ = (n for n, line in enumerate(place.lines) if line.startswith("checking with"))
    # The second begins when all of the first has been said.
    packages = {line.rpartition(" ")[2].partition("==")[0] for line in place.lines[begun:next_]}
    assert len(packages & {"cowsay", "mdurl"}) == 1


def children() -> set[int]:
    """Processes that this one has started, and theirs."""
    found = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    parents = {int(pid): int(ppid) for pid, ppid in map(str.split, found.stdout.splitlines())}
    return {pid for pid in parents if os.getpid() in _ancestors(pid, parents)}


def _ancestors(pid: int, parents: dict[int, int]) -> list[int]:
    chain: list[int] = []
    while (pid := parents.get(pid, 0)) and pid not in chain:
        chain.append(pid)
    return chain


async def test_cancelled_in_the_middle_it_leaves_no_process_and_the_next_one_works(
    place: Place,
) -> None:
    before = children()
    working = asyncio.create_task(place.install("cowsay==6.1"))
    # The installer has said something of the dry run, or of the install.
    await until(lambda: len(place.lines) > 1)
    started = children() - before
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert not [pid for pid in started if alive(pid)]
    await place.install("cowsay==6.1")
    assert place.versions() == {"cowsay": "6.1"}


async def test_one_that_waits_can_be_cancelled_without_touching_the_other(place: Place) -> None:
    first = asyncio.create_task(place.install("cowsay==6.1"))
    await until(lambda: place.lines)
    second = asyncio.create_task(place.install("mdurl"))
    await until(lambda: any(line.startswith("waiting") for line in place.lines))
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert [change.name for change in (await first).changes] == ["cowsay"]
    assert place.versions() == {"cowsay": "6.1"}


# -- without any installer


def distribution(tmp_path: Path, name: str, version: str, *needs: str) -> Distribution:
    folder = tmp_path / f"{name}-{version}.dist-info"
    folder.mkdir()
    lines = "".join(f"Requires-Dist: {need}\n" for need in needs)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\n{lines}\nText.\n")
    return Distribution(name, version, folder=folder)


def test_a_need_counts_that_is_met_now_and_would_not_be(tmp_path: Path) -> None:
    """Not of another Python or an extra, nor one that is broken anyway, nor of a package that is
    replaced itself."""
    there = {
        "six": Distribution("six", "1.16.0"),
        "rich": Distribution("rich", "13.0"),
        "a": distribution(
            tmp_path, "a", "1", "six (<1.17)", "rich>=13; python_version<'3.9'", "x", "not a need!"
        ),
        "b": distribution(tmp_path, "b", "2", "six<1; extra=='old'", "six>=1.17", "rich<12"),
        "c": distribution(tmp_path, "c", "3", "six<1.17", "Rich~=13.0"),
        "d": Distribution("d", "4"),
    }
    words = ["a 1 needs six<1.17, and 1.17 would be installed"]
    assert broken(there, {"six": "1.17", "c": "4"}, "3.11.7") == words
    assert broken(there, {"rich": "12.9", "six": "1.16.1"}, "3.8.18") == [
        "a 1 needs rich>=13, and 12.9 would be installed",
        "c 3 needs Rich~=13.0, and 12.9 would be installed",
    ]
    assert broken(there, {"new": "1"}, "3.11.7") == []


def test_a_venv_without_pip_has_its_packages_told(tmp_path: Path) -> None:
    make_venv(Path(os.path.realpath(sys.executable)), tmp_path / "v")
    assert installed(describe(str(tmp_path / "v" / "bin" / "python"))) == {}
