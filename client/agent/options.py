"""The commands `ask` and `chat` of `rmi-agent`: their options. Imports nothing that is slow."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from client.agent.limits import Limits

_MODEL = "openai:MODEL, anthropic:MODEL or google:MODEL (default: RMI_MODEL, else by the key)"


def add_agent(commands: Any, add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands; `add` makes one, with what all have."""
    ask = add(commands, "ask", "have a language model run and mend files; one question", "agent")
    _add_all(ask)
    ask.add_argument("question", metavar="QUESTION", help="what it is to do")
    chat = add(commands, "chat", "the same as a conversation; Ctrl-D leaves", "agent")
    _add_all(chat)
    chat.add_argument("--list", action="store_true", help="list the saved conversations")


def _add_all(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    default = Limits()
    add("--model", metavar="PROVIDER:MODEL", help=_MODEL)
    add("--base-url", metavar="URL", help="another address of its API, as of a local model")
    add("--yes", action="store_true", help="let it run and write without asking")
    add("--resume", metavar="NAME", help="go on with a saved conversation; last: the last one")
    add("--no-save", action="store_true", help="do not save the conversation")
    add("--no-stream", action="store_true", help="show answers whole, not as they come")
    add("--images", type=Path, default=Path(), metavar="DIR", help="folder for images (default: .)")
    limits = parser.add_argument_group("limits of one question")
    add = limits.add_argument
    words = "answers of the model, calls of tools among them"
    add("--max-turns", type=_count, default=default.turns, metavar="N", help=_said(words))
    add("--max-runs", type=_count, default=default.runs, metavar="N", help=_said("runs"))
    words = "tokens read and written"
    add("--max-tokens", type=_count, default=default.tokens, metavar="N", help=_said(words))
    words = "seconds while you are not asked anything"
    add("--max-seconds", type=_number, default=default.seconds, metavar="S", help=_said(words))
    words = "US dollars, where the model's price is known (default: no limit)"
    add("--max-cost", type=_number, metavar="USD", help=words)


def limits_of(options: argparse.Namespace) -> Limits:
    """What the options allow one question."""
    return Limits(
        options.max_turns,
        options.max_runs,
        options.max_tokens,
        options.max_seconds,
        options.max_cost,
    )


def _said(words: str) -> str:
    return f"{words} (default: %(default)s)"


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 10**12):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return number
