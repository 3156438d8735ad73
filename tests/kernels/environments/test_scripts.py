"""Scripts that say what they need (PEP 723): what is read, and the environments that uv makes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernels.environments import scripts
from kernels.environments.children import Ended
from kernels.environments.environment import Environment
from kernels.environments.installers import find_uv
from kernels.environments.scripts import ScriptNeeds, Scripts, metadata
from kernels.errors import BadRequest, EnvironmentUnfit
from tests.conftest import until

SCRIPT = """\
#!/usr/bin/env -S uv run --script
# /// script
# requires-python = ">=3.9"
# dependencies = ["cowsay==6.1"]
# ///
import cowsay
"""


def block(*lines: str) -> str:
    return "\n".join(["# /// script", *(f"# {line}".rstrip() for line in lines), "# ///", ""])


# -- what is read


def test_the_metadata_of_a_script_are_read() -> None:
    needs = metadata(SCRIPT.encode())
    assert needs is not None
    assert needs.dependencies == ("cowsay==6.1",) and needs.requires_python == ">=3.9"


@pytest.mark.parametrize(
    "source",
    [
        "",
        "print(1)",
        "# /// script\n# dependencies = []\n",
        "# /// other\n# dependencies = 3\n# ///\n",
        "x = 1  # /// script\n# a = 1\n# ///\n",
        "  # /// script\n  # a = 1\n  # ///\n",
        "# /// script\ndependencies = []\n# ///\n",
        "#/// script\n# a = 1\n# ///\n",
        "\xff\xfe",
    ],
)
def test_what_is_no_block_of_metadata_is_a_comment(source: str) -> None:
    assert metadata(source) is None
    assert metadata(source.encode("latin-1")) is None


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_any_end_of_line_will_do(newline: str, mark: str) -> None:
    source = mark + block("dependencies = [", '  "rich",', "]", "", "[tool.uv]").replace(
        "\n", newline
    )
    needs = metadata(source.encode())
    assert needs is not None and needs.dependencies == ("rich",)
    assert (
        needs.digest
        == metadata(block("dependencies = [", '  "rich",', "]", "", "[tool.uv]")).digest
    )  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["dependencies = ["], "malformed"),
        (['a = 1', 'dependencies = "rich'], "line 5, column"),
        (['dependencies = "rich"'], "dependencies must be a list of strings"),
        (["dependencies = [1]"], "dependencies must be a list of strings"),
        (['dependencies = ["a b"]'], "'a b' is no requirement"),
        (["requires-python = 3"], "requires-python must be a string"),
        (['requires-python = "new"'], "'new', no range of versions"),
    ],
)  # fmt: skip
def test_malformed_metadata_are_a_sentence_with_the_line(lines: list[str], words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        metadata("import os\n\n" + block(*lines))
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).endswith("without an environment of its own.")


def test_two_blocks_are_refused() -> None:
    with pytest.raises(BadRequest, match="two blocks"):
        metadata(block("a = 1") + "\nx = 1\n" + block("b = 1"))


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.text(alphabet="# /script\n=[]'\"abc", max_size=60) | st.binary(max_size=60))
def test_whatever_a_script_is_it_is_read_or_refused(text: str | bytes) -> None:
    source = b"# /// script\n" + (text.encode() if isinstance(text, str) else text) + b"\n# ///\n"
    try:
        found = metadata(source)
    except BadRequest:
        return
    assert found is None or isinstance(found, ScriptNeeds)


# -- the environments


class Maker:
    """`Scripts` over a state directory of its own; notes each program that it starts."""

    def __init__(self, folder: Path, cache: Path, uv: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder / "scripts"
        self.scripts = Scripts(folder)
        self._of_uv = cache / "environments-v2"
        self._before = {*self._of_uv.glob("*")}
        self.environ = {**os.environ, "UV_CACHE_DIR": str(cache)}
        self.environ["PATH"] = os.pathsep.join([os.path.dirname(uv), os.environ["PATH"]])
        self.started: list[str] = []
        self.lines: list[str] = []

        async def run(argv: list[str], *rest: object) -> Ended:
            self.started.append(argv[1])
            return await real(argv, *rest)  # type: ignore[arg-type]

        real = scripts.run
        monkeypatch.setattr(scripts, "run", run)

    async def __call__(self, source: str, **environ: str) -> Environment | None:
        needs = metadata(source)
        assert needs is not None
        return await self.scripts.prepare(
            needs, "a.py", {**self.environ, **environ}, self.lines.append
        )

    def made(self) -> list[str]:
        """What there is of its environments, in our folder and in uv's."""
        return [path.name for path in (*self.folder.glob("*"), *self._new())]

    def _new(self) -> set[Path]:
        return {*self._of_uv.glob("*")} - self._before


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """uv's, so that it gets each package once."""
    return tmp_path_factory.mktemp("uv")


@pytest.fixture
def maker(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Maker:
    """Tests in this module that make environments skip where there is no uv."""
    if not (uv := find_uv(os.environ)):
        pytest.skip("uv is not installed")
    return Maker(tmp_path / "state", cache, uv, monkeypatch)


def run_there(where: Environment, code: str) -> str:
    command = [where.python, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_uv_makes_it_once_with_what_kernels_need(maker: Maker) -> None:
    """The second time no program is started; edited metadata make another; one that has gone is
    made again."""
    where = await maker(SCRIPT)
    assert where is not None and where.name == "script:a.py" and where.runs_kernels
    assert run_there(where, "import cowsay; print(cowsay.__version__)") == "6.1"
    assert maker.started == ["add", "sync", "python"]
    assert any("cowsay==6.1" in line for line in maker.lines)
    maker.started.clear()
    assert await maker(SCRIPT) == where
    assert await maker("# another script\n" + SCRIPT.replace("import", "from")) == where
    assert maker.started == []
    # Without uv, too, and in the next life of the server.
    maker.scripts = Scripts(maker.folder.parent)
    assert await maker(SCRIPT, PATH="/nowhere", HOME="/nowhere") == where
    edited = await maker(SCRIPT.replace("6.1", "6.0"))
    assert edited is not None and edited.python != where.python
    assert run_there(edited, "import importlib.metadata as m; print(m.version('cowsay'))") == "6.0"
    assert await maker(SCRIPT) == where
    assert where.prefix is not None
    where.prefix.rename(where.prefix.with_name("gone"))
    again = await maker(SCRIPT)
    assert again == where
    assert run_there(where, "import cowsay; print(cowsay.__version__)") == "6.1"


@pytest.mark.slow
async def test_two_at_once_make_it_once(maker: Maker) -> None:
    one, other = await asyncio.gather(maker(SCRIPT), maker(SCRIPT))
    assert one == other and maker.started.count("sync") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "environ", "words"),
    [
        ("cowsay==6.1", "cowsay==99.9", {}, "cowsay==99.9"),
        ('["cowsay==6.1"]', '["cowsay==6.1", "cowsay==6.0"]', {}, "unsatisfiable"),
        ("cowsay==6.1", "no-such-distribution-anywhere-2718", {}, "was not found"),
        (">=3.9", ">=3.99", {"UV_PYTHON_DOWNLOADS": "never"}, "3.99"),
        (
            "cowsay==6.1",
            "rich",
            {"HTTPS_PROXY": "http://127.0.0.1:9", "UV_NO_CACHE": "1"},
            "Failed to fetch",
        ),
    ],
    ids=["version", "conflict", "name", "python", "network"],
)
async def test_what_cannot_be_made_is_told_in_uvs_words_and_nothing_is_left(
    maker: Maker, old: str, new: str, environ: dict[str, str], words: str
) -> None:
    with pytest.raises(EnvironmentUnfit) as caught:
        await maker(SCRIPT.replace(old, new), UV_HTTP_RETRIES="0", **environ)
    assert "that the metadata of a.py ask for; nothing of it is kept. uv says: " in str(
        caught.value
    )
    assert words in str(caught.value) + caught.value.detail
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700
    assert maker.made() == []


@pytest.mark.slow
async def test_cancelled_nothing_is_left_and_the_next_one_makes_it(maker: Maker) -> None:
    making = asyncio.create_task(maker(SCRIPT))
    await until(lambda: any("environment at" in line for line in maker.lines))
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert maker.made() == []
    assert await maker(SCRIPT) is not None


async def test_without_uv_there_is_none(tmp_path: Path) -> None:
    needs = metadata(SCRIPT)
    assert needs is not None
    environ = {"PATH": "/nowhere", "HOME": "/nowhere"}
    made = Scripts(tmp_path, own_python="/nowhere/python")
    assert await made.prepare(needs, "a.py", environ) is None


async def test_a_state_directory_that_cannot_be_written_is_a_sentence(
    tmp_path: Path, maker: Maker
) -> None:
    (tmp_path / "file").touch()
    maker.scripts = Scripts(tmp_path / "file")
    with pytest.raises(EnvironmentUnfit, match=r"a\.py cannot be made: .* cannot be written \("):
        await maker(SCRIPT)


@pytest.mark.slow
async def test_it_is_made_for_the_python_that_the_script_asks_for(maker: Maker) -> None:
    """Where that is on this machine."""
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    where = await maker(SCRIPT.replace(">=3.9", f"=={minor}.*"))
    assert where is not None and where.version.startswith(f"{minor}.")
