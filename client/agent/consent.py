"""What the user is shown, and asked, before the agent does something."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from client.agent.diffs import Read, diff, whole
from client.agent.display import Display
from client.asking import Asker

if TYPE_CHECKING:
    from client.agent.limits import Clock

#: Tools that only look. All others, of whatever server, are asked for.
LOOKS = frozenset(
    ("get_output", "list_environments", "list_files", "list_sessions", "list_variables")
) | frozenset(("read_file", "read_notebook", "stop_run"))
_YES, _NO, _ALL = ("y", "yes"), ("n", "no", ""), ("a", "all")


class Keyboard(Asker):
    """Asks on the terminal, while the question's clock stands still."""

    def __init__(self) -> None:
        super().__init__(lambda: self.before())
        #: Clears the terminal of what else is shown.
        self.before: Callable[[], None] = lambda: None
        #: The clock of the question that is being answered.
        self.clock: Clock | None = None

    async def __call__(self, message: str, secret: bool) -> str | None:
        """See `Asker`."""
        with self.clock.paused() if self.clock is not None else nullcontext():
            return await super().__call__(message, secret)


class Consent:
    """Shows what is about to be done and asks for leave; `keyboard` is None when nobody is to be
    asked, because everything is allowed."""

    def __init__(self, display: Display, keyboard: Keyboard | None) -> None:
        self._display = display
        self._keyboard = keyboard

    async def ask(self, tool: str, arguments: dict[str, Any], read: Read) -> str | None:
        """None when the call may be made; else what is to be told to the model."""
        self._display.call(tool, arguments)
        if tool in LOOKS:
            return None
        await self._show(tool, arguments, read)
        if self._keyboard is None:
            return None
        what = "Write it" if tool in ("write_file", "edit_notebook") else "Go on"
        question = f"{what}? [y]es, [n]o, [a]ll from now on, or say what to do instead:"
        answer = await self._keyboard(question, False)
        words = (answer or "").strip()
        if words.lower() in _ALL:
            self._keyboard = None
        if words.lower() in (*_YES, *_ALL):
            return None
        if words.lower() in _NO:
            return "The user declined this call. Do not repeat it; ask what they want instead."
        return f"The user declined this call and said: {words}"

    async def _show(self, tool: str, arguments: dict[str, Any], read: Read) -> None:
        """All that the title does not tell of the call."""
        content = arguments.get("content")
        if tool == "write_file" and isinstance(content, str):
            file_name = str(arguments.get("file_name", ""))
            lines = diff(file_name, await whole(read, file_name), content)
            self._display.lines(lines or ["(no change)"], is_diff=True)
            return
        rest = {name: value for name, value in arguments.items() if name not in ("file_name",)}
        if tool == "run_python":
            rest.pop("args", None)
        code = rest.pop("code", None)
        if isinstance(code, str):
            self._display.lines(code.rstrip("\n").split("\n"))
        rest.pop("session", None)
        if rest:
            text = json.dumps(rest, indent=2, ensure_ascii=False, default=str)
            self._display.lines(text.split("\n"))
