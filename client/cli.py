"""The `rmi-agent` command."""

from __future__ import annotations

import argparse
import io
import logging
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from client.agent.options import add_agent
from client.commands import perform
from client.convert import KINDS, ConvertError
from client.host_commands import add_commands
from client.mcp_client import ServerError
from client.notebook import parameter
from client.show import FAILED, INTERRUPTED, complain

#: The exit code of a program that writes where nobody reads: 128 and the number of SIGPIPE.
_NOBODY_READS = 141
_DESCRIPTION = "Runs Python in living kernels of a server, over MCP."
_EPILOG = """\
Without --server the local server is started, and it ends with the command. With --server and no
command, the server's tools are listed and hello_world.py is run, to see that all works. RMI_TOKEN
is the token for a server at a URL.

The exit code is the program's own; 124 after a timeout, 130 after Ctrl-C, 128 and the signal's
number when its kernel was killed, 2 when nothing could be run."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code. Wrong usage raises SystemExit, as argparse does."""
    _prepare_streams()
    options = _parse(sys.argv[1:] if argv is None else list(argv))
    # What the libraries log is for their developers; what users need is said in sentences.
    logging.disable()
    try:
        code: int = getattr(options, "local", perform)(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Who read our output has enough of it; Python would complain of it at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _NOBODY_READS
    except (ServerError, ConvertError) as error:
        complain(str(error))
        return FAILED
    except OSError as error:
        complain(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}.")
        return FAILED
    return code


def _prepare_streams() -> None:
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started us
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            # A character that the terminal does not know, or that is none, must not end us.
            stream.reconfigure(errors="replace" if name == "stdin" else "backslashreplace")


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("rmi-agent", description=_DESCRIPTION, epilog=_EPILOG)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    _add_common(parser, None)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    run = _add(commands, "run", "run a file of the projects directory")
    _add_running(run)
    run.add_argument("file", metavar="FILE", help="path relative to the projects directory")
    run.add_argument("args", nargs=argparse.REMAINDER, metavar="ARGS", help="the file's arguments")

    code = _add(commands, "code", "run code, and show the value of a last expression")
    _add_running(code)
    code.add_argument("code", metavar="CODE", help="the code; - reads it from standard input")

    text = "run a notebook of the projects directory and save its outputs in it"
    notebook = _add(commands, "notebook", text, "one of the notebook's own")
    _add_running(notebook, each="for each cell")
    _add_notebook(notebook)

    prompt = _add(commands, "shell", "a prompt on one session; Ctrl-C stops a run, Ctrl-D leaves")
    _add_running(prompt, with_stdin=False)

    files = _add(commands, "files", "list the files of the projects directory")
    files.add_argument("directory", nargs="?", default="", metavar="DIRECTORY")
    files.add_argument("--pattern", default="*", help="for example '*.py'")
    words = "list the sessions of a server, or do something with one"
    actions = _add(commands, "sessions", words).add_subparsers(
        dest="action", metavar="export | attach | branch | rewind"
    )
    export = _add(actions, "export", "write all that was run in a session into a notebook")
    export.add_argument("name", metavar="NAME", help="name of the session")
    export.add_argument("file", type=Path, metavar="FILE.ipynb", help="the file, a new one")
    attach = _add(actions, "attach", "open a session's kernel in jupyter console")
    attach.add_argument("name", metavar="NAME", help="name of the session")
    attach.add_argument("--print", action="store_true", help="only say how")
    branch = _add(actions, "branch", "make a second session with the same variables")
    branch.add_argument("name", metavar="NAME", help="name of the session")
    branch.add_argument("new", metavar="NEW", help="name of the second one, which is new")
    rewind = _add(actions, "rewind", "take a session's variables back to its checkpoint")
    rewind.add_argument("name", metavar="NAME", help="name of the session")
    _add_packages(commands)
    _add(commands, "environments", "list where sessions can run")
    _add(commands, "tools", "list the tools of a server")
    doctor = _add(commands, "doctor", "check what the server needs on this machine")
    doctor.add_argument("--json", action="store_true", help="the checks as JSON")
    _add_export(commands)
    add_agent(commands, _add)
    add_commands(commands)

    if any("\ud800" <= character <= "\udfff" for word in argv for character in word):
        parser.error("an argument is not valid text in UTF-8")
    options = parser.parse_args(argv)
    if options.command is None and options.server is None:
        parser.error("a command is missing; --help lists them")
    if options.command == "code" and options.code == "-" and options.stdin == "-":
        parser.error("standard input can be the code or the program's input, not both")
    return options


def _add(commands: Any, name: str, text: str, session: str = "default") -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    _add_common(parser, argparse.SUPPRESS, session)
    return parser


def _add_common(parser: argparse.ArgumentParser, default: Any, session: str = "default") -> None:
    # Both before and after the command; there the default must not undo what stood before it.
    parser.add_argument(
        "--server", default=default, help="URL, server script, or command (default: the local one)"
    )
    words = f"name of the session (default: {session})"
    parser.add_argument("--session", default=default, help=words)


def _add_running(
    parser: argparse.ArgumentParser, *, with_stdin: bool = True, each: str = "for a run"
) -> None:
    words = f"{each} (default: the server's)"
    parser.add_argument("--timeout", type=_seconds, metavar="SECONDS", help=words)
    parser.add_argument("--restart", action="store_true", help="begin in a fresh kernel")
    parser.add_argument(
        "--environment",
        type=_words,
        metavar="NAME",
        help="where a new session runs: one that `environments` lists, a kernelspec, or a path",
    )
    parser.add_argument(
        "--images", type=Path, default=Path(), metavar="DIR", help="folder for images (default: .)"
    )
    if with_stdin:
        parser.add_argument(
            "--stdin", metavar="TEXT", help="what the program reads; - passes ours on"
        )


def _add_notebook(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", help="an .ipynb file, or a .py file with # %%%% cells"
    )
    parser.add_argument(
        "-p",
        "--parameter",
        dest="parameters",
        action="append",
        default=[],
        type=_parameter,
        metavar="NAME=VALUE",
        help="set a parameter: true, false, null, a number, text, or JSON that begins with "
        "{, [ or a quote; may be repeated",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=_words,
        metavar="OUT",
        help="save the outputs in this file of the projects directory, and not in FILE",
    )
    parser.add_argument("--cells", type=_words, help="the cells to run (default: all)")
    parser.add_argument("--allow-errors", action="store_true", help="go on after a cell's error")


def _add_packages(commands: Any) -> None:
    packages = _add(commands, "packages", "install packages where a session runs")
    actions = packages.add_subparsers(dest="action", metavar="install", required=True)
    text = "install packages into the session's own environment, by conda, uv or pip"
    install = _add(actions, "install", text)
    install.add_argument(
        "--environment", type=_words, help="another environment than the session's"
    )
    install.add_argument(
        "names", nargs="+", metavar="NAME", help="a package, as cowsay or 'cowsay>=6'"
    )


def _add_export(commands: Any) -> None:
    text = "write a notebook of this machine as HTML or as a script; takes no server"
    parser = commands.add_parser("export", help=text, description=text)
    parser.add_argument("file", type=Path, metavar="FILE.ipynb", help="the notebook")
    parser.add_argument("--to", choices=KINDS, required=True, help="what it becomes")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="OUT", help="the new file (default: beside FILE)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")


def _parameter(text: str) -> tuple[str, Any]:
    try:
        return parameter(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _words(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty")
    return text


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return number
