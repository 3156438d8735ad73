"""docs/llm.md: each of its code blocks is run as it stands there, with the real SDK, against a
provider on this machine, the real server and a real kernel."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.client.agent.conftest import BARE, KEYS, scripted
from tests.client.agent.provider import Asked, Call, Provider, Say
from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "llm.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
ADDRESS = {
    "openai": ("chat", "OPENAI_BASE_URL"),
    "anthropic": ("anthropic", "ANTHROPIC_BASE_URL"),
    "google": ("google", "GOOGLE_GEMINI_BASE_URL"),
}


def test_every_sdk_has_a_block() -> None:
    """All of them together are one program, in which nothing is left out."""
    assert len(BLOCKS) == len(ADDRESS) + 2


@pytest.mark.parametrize("name", ADDRESS)
async def test_the_lines_of(
    name: str, tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model runs a file that is not there, reads that, runs one that is, and answers; the
    server has no key of those that the SDK took."""
    api, variable = ADDRESS[name]
    (tmp_path / "greet.py").write_text("print('hello from a kernel')")
    for key, value in {**BARE, **KEYS, variable: provider.base(api)}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("PYTHON_PROJECTS_DIR", str(tmp_path))

    def after(asked: Asked) -> Call:
        assert "does not exist" in asked.text
        return Call("run_python", file_name="greet.py")

    scripted(provider, Call("run_python", file_name="gone.py"), after, Say("It says hello."))
    names: dict[str, Any] = {}
    for block in BLOCKS:
        exec(compile(block, "docs/llm.md", "exec"), names)
    answer = await names[f"ask_{name}"]("Run it.", model="some-model")
    assert answer == "It says hello."
    assert "hello from a kernel" in provider.asked[2].text
    assert [asked.streams for asked in provider.asked] == [False] * 3
