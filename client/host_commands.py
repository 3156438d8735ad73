"""The commands that connect host programs: `install`, `uninstall`, `bundle`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.hosts.paths import HOSTS, Machine
from client.show import FAILED, complain, note

if TYPE_CHECKING:
    from client.hosts.installing import Connecting


def add_commands(commands: Any) -> None:
    """Add them to the parsers of `rmi-agent`. Each sets `local`, the function that does it."""
    install = _add(commands, "install", "connect a host program to this server", _install)
    _add_host(install)
    install.add_argument("--projects", metavar="DIR", help="the projects directory")
    install.add_argument(
        "--env",
        action="append",
        default=[],
        type=_variable,
        metavar="NAME=VALUE",
        help="another setting, or a variable for your programs; may be repeated; "
        "an empty value takes one away",
    )
    install.add_argument("--page", metavar="PORT", help="port of the live page")
    install.add_argument(
        "--print", action="store_true", help="show what would be written, and write nothing"
    )
    _add_host(_add(commands, "uninstall", "take that back", _uninstall))
    text = "make a .mcpb bundle of this server, which Claude Desktop installs by a double click"
    bundle = _add(commands, "bundle", text, _bundle)
    bundle.add_argument("-o", "--output", type=Path, metavar="FILE.mcpb", help="the file")


def _add(commands: Any, name: str, text: str, local: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(local=local)
    return parser


def _add_host(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("host", choices=HOSTS, metavar="HOST", help=", ".join(HOSTS))
    parser.add_argument("--name", default="rmi-agent", help="the server's name in the host")
    parser.add_argument(
        "--workspace",
        nargs="?",
        const=Path(),
        type=Path,
        metavar="DIR",
        help="in the file of the project DIR (default: .), not for all of the user's projects",
    )


def _install(options: argparse.Namespace) -> int:
    from client.hosts.errors import HostError
    from client.hosts.installing import settings_of

    try:
        settings = settings_of(options.env, options.projects, options.page)
        connecting, machine = _connecting(options, settings), Machine.this()
        if options.print:
            print(connecting.show(machine, note))
            return 0
        return 0 if connecting.install(machine, note) else 1
    except HostError as error:
        complain(str(error))
        return FAILED


def _uninstall(options: argparse.Namespace) -> int:
    from client.hosts.errors import HostError

    try:
        _connecting(options, {}).uninstall(Machine.this(), note)
    except HostError as error:
        complain(str(error))
        return FAILED
    return 0


def _connecting(options: argparse.Namespace, settings: dict[str, str]) -> Connecting:
    from client.hosts.installing import Connecting

    return Connecting(HOSTS[options.host], options.name, settings, options.workspace)


def _bundle(options: argparse.Namespace) -> int:
    from client.hosts.bundling import write_bundle
    from client.hosts.errors import HostError

    try:
        path = write_bundle(options.output)
    except HostError as error:
        complain(str(error))
        return FAILED
    note(f"The bundle is {path}. Open it with Claude Desktop, or drag it into its settings.")
    return 0


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (equals and name.strip()):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return name.strip(), value
