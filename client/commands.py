"""What each command of `rmi-agent` does."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from client.asking import Asker, can_ask
from client.attach import attach, choose, find_here, told_by_server
from client.connection import Connection
from client.convert import convert
from client.doctor import doctor
from client.notebook import own_session
from client.progress import Progress
from client.shell import shell
from client.show import FAILED, complain, facts_of, note, show

if TYPE_CHECKING:
    from fastmcp.client.client import CallToolResult

_SAMPLE = "hello_world.py"


def perform(options: argparse.Namespace) -> int:
    """Do what the options ask for and return the exit code.

    Raises `ServerError`, `ConvertError`, and KeyboardInterrupt for a command that was given up.
    """
    if options.command == "export":
        return _export(options)
    if options.command == "doctor":
        return doctor(options.json)
    if getattr(options, "action", None) == "attach" and options.server is None:
        return attach(choose(find_here(), options.name), options.print)
    if options.command in ("ask", "chat"):
        from client.agent.command import perform as converse

        return converse(options)
    # What comes from standard input is read before the server starts.
    for name in ("code", "stdin"):
        if getattr(options, name, None) == "-":
            setattr(options, name, sys.stdin.read())
    with Progress() as progress:
        asker = Asker(progress.clear) if can_ask() else None
        connection = Connection(options.server, asker)
        progress.begin("rmi-agent", "connecting")
        with connection:
            progress.clear()
            command = _Command(options, connection, progress)
            code: int = getattr(command, options.command or "check")()
            return code


def _export(options: argparse.Namespace) -> int:
    """Convert a notebook of this machine; there is no server in it."""
    path = convert(options.file, options.to, options.output, options.overwrite)
    note(f"{options.file} is in {path}.")
    return 0


class _Command:
    """The commands by name, over an open connection."""

    def __init__(
        self, options: argparse.Namespace, connection: Connection, progress: Progress
    ) -> None:
        self._options = options
        self._connection = connection
        self._progress = progress

    def run(self) -> int:
        file, args = self._options.file, self._options.args
        return self._run("run_python", file, file_name=file, args=args)

    def code(self) -> int:
        return self._run("run_code", "code", code=self._options.code)

    def notebook(self) -> int:
        options = self._options
        arguments = {
            "parameters": dict(options.parameters),
            "output_file": options.output,
            "cells": options.cells,
            "allow_errors": options.allow_errors,
        }
        session = options.session or own_session(options.file)
        file = options.file
        return self._run("run_notebook", file, session=session, file_name=file, **arguments)

    def shell(self) -> int:
        def run(source: str) -> int:
            code = self._run("run_code", source.strip().split("\n")[0], brief=True, code=source)
            # Only the shell's first run begins in a fresh kernel.
            self._options.restart = False
            return code

        return shell(run, f"{self._connection.server} · session {self._session} · Ctrl-D leaves")

    def files(self) -> int:
        options = self._options
        return self._tell("list_files", directory=options.directory, pattern=options.pattern)

    def sessions(self) -> int:
        options = self._options
        match options.action:
            case "export":
                return self._export(options.name, options.file)
            case "attach":
                listed = self._connection.call("list_sessions")
                self._progress.clear()
                return attach(told_by_server(listed.meta, options.name), options.print)
            case "branch":
                return self._tell("branch_session", session=options.name, new_session=options.new)
            case "rewind":
                return self._tell("rewind_session", session=options.name)
        return self._tell("list_sessions")

    def _export(self, name: str, file: Path) -> int:
        """Write a session's notebook into a new file."""
        text = self._connection.read(f"session://{quote(name)}/notebook")
        # Never over an existing file, and not half of it when the disk is full.
        with file.open("x", encoding="utf-8") as opened:
            try:
                opened.write(text)
                opened.flush()
            except OSError:
                file.unlink()
                raise
        note(f"Session {name!r} is in {file}.")
        return 0

    def packages(self) -> int:
        options = self._options
        arguments = {
            "packages": options.names,
            "session": options.session,
            "environment": options.environment,
        }
        if all(tool.name != "install_packages" for tool in self._connection.list_tools()):
            complain("This server installs no packages: its setting RMI_ALLOW_INSTALL is off.")
            return FAILED
        arguments = {name: value for name, value in arguments.items() if value}
        self._progress.begin(f"installing {' '.join(options.names)}")
        try:
            report = self._progress.report
            result = self._connection.call("install_packages", arguments, report)
        finally:
            self._progress.clear()
        return show(result)

    def environments(self) -> int:
        return self._tell("list_environments")

    def tools(self) -> int:
        tools = self._connection.list_tools()
        width = max((len(tool.name) for tool in tools), default=0)
        for tool in tools:
            print(f"{tool.name:<{width}}  {_first_sentence(tool.description or '')}".rstrip())
        return 0

    def check(self) -> int:
        """Connect, list the tools, run the sample: the parts work together."""
        note(f"Connected to {self._connection.server}. Its tools:")
        self.tools()
        names = [tool.name for tool in self._connection.list_tools()]
        if "run_python" not in names:
            complain("This server has no run_python.")
            return FAILED
        if "list_files" in names:
            found = self._connection.call("list_files", {"pattern": _SAMPLE})
            if not _lists(found, _SAMPLE):
                note(f"It has no {_SAMPLE} to run.")
                return 0
        note(f"Running {_SAMPLE}:")
        return show(self._connection.call("run_python", {"file_name": _SAMPLE}))

    @property
    def _session(self) -> str:
        return self._options.session or "default"

    def _run(
        self, tool: str, title: str, *, session: str = "", brief: bool = False, **arguments: Any
    ) -> int:
        """Run something; `session` is where it runs when that is not the one of the options."""
        options = self._options
        session = session or self._session
        # Only what was asked for: another server's tool may know fewer arguments.
        for name in ("session", "timeout", "stdin", "restart", "environment"):
            arguments[name] = getattr(options, name, None)
        arguments = {name: value for name, value in arguments.items() if value}
        self._progress.begin(title)
        news = self._progress.report, self._progress.report_part
        try:
            result = self._connection.run(tool, arguments, session, *news)
            while (facts := facts_of(result) or {}).get("status") == "running":
                # It has asked so often that the call had to end; another one follows it.
                again = {"run_id": facts["run_id"], "wait": 20}
                result = self._connection.run("get_output", again, session, *news)
        finally:
            self._progress.clear()
        return show(result, options.images, brief=brief)

    def _tell(self, tool: str, **arguments: str) -> int:
        return show(self._connection.call(tool, arguments))


def _lists(result: CallToolResult, file: str) -> bool:
    texts = [str(getattr(block, "text", "")) for block in result.content]
    return any(line.partition(" (")[0] == file for line in "\n".join(texts).split("\n"))


def _first_sentence(text: str) -> str:
    """The first sentence of a description, in one line."""
    words = " ".join(text.partition("\n\n")[0].split())
    return words.partition(". ")[0].rstrip(".")
