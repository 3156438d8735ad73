"""What may be asked for as a package: PEP 508 requirements and conda's match specs, by name.

Nothing else gets to an installer's command line: no option, address, path, file or channel that
is an address, nothing that a shell or a terminal would understand. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from kernels.errors import BadRequest

#: Packages of one install, and characters of each.
MOST, LONGEST = 50, 200
#: What a requirement without an address is made of.
_CHARACTERS = re.compile(r"""[A-Za-z0-9 ._\-\[\],<>=!~;()'"*+]+""")
#: Installers take such words for files. (A dot alone is nothing: there is a `ruamel.yaml`.)
_FILE = re.compile(r".*\.(?:whl|egg|zip|conda|txt|toml|t[gbxl]z|tbz2|tar(?:\.\w+)?)", re.I)
_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
_CHANNEL = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_VERSION = r"[A-Za-z0-9][A-Za-z0-9._+!]*(?:\.?\*)?"
_RELATION = rf"(?:>=|<=|==|!=|~=|=|>|<) ?{_VERSION}"
_MATCH_SPEC = re.compile(
    rf"(?:(?P<channel>{_CHANNEL})::)?(?P<name>{_NAME})"
    rf"(?: ?(?P<version>{_RELATION}(?: ?[,|] ?(?:{_RELATION}|{_VERSION}))*)"
    r"(?:=(?P<build>[A-Za-z0-9_.*]+))?)?"
)


def requirements(packages: Sequence[str]) -> tuple[str, ...]:
    """The packages as requirements (PEP 508) in their usual spelling. Raises `BadRequest`."""
    return tuple(_requirement(text) for text in _counted(packages))


def match_specs(packages: Sequence[str]) -> tuple[str, ...]:
    """The packages as conda's match specs, without blanks. Raises `BadRequest`."""
    return tuple(_match_spec(text) for text in _counted(packages))


def _counted(packages: Sequence[str]) -> list[str]:
    if not packages:
        raise BadRequest("packages is empty; name at least one, for example ['cowsay'].")
    if len(packages) > MOST:
        raise BadRequest(
            f"packages has {len(packages)} items; at most {MOST} can be installed at once."
        )
    for text in packages:
        if len(text) > LONGEST:
            raise BadRequest(
                f"A package of {len(text)} characters is too long; at most {LONGEST} are allowed."
            )
    return [text.strip(" ") for text in packages]


def _requirement(text: str) -> str:
    # It is no small part of the start, and few sessions install anything.
    from packaging.requirements import InvalidRequirement, Requirement

    if not _CHARACTERS.fullmatch(text):
        raise _refused(text, _trouble(text))
    try:
        found = Requirement(text)
    except InvalidRequirement:
        trouble = _trouble(text, "is no requirement as PEP 508 has it")
        raise _refused(text, trouble) from None
    if found.url is not None:
        raise _refused(text, "has an address")
    _check_name(text, found.name)
    if any(each.operator == "===" for each in found.specifier):
        raise _refused(text, "compares by ===, which no installer checks")
    return str(found)


def _match_spec(text: str) -> str:
    if "[" in text:
        raise _refused(text, "has brackets, and packages of conda have no extras")
    found = _MATCH_SPEC.fullmatch(text)
    if found is None:
        raise _refused(text, _trouble(text, "is no match spec of conda's"))
    _check_name(text, found["name"])
    return text.replace(" ", "")


def _check_name(text: str, name: str) -> None:
    if _FILE.fullmatch(name):
        raise _refused(text, "looks like the name of a file")


def _trouble(text: str, otherwise: str = "has a character that no requirement has") -> str:
    if not text:
        return "is empty"
    if text.startswith("-"):
        return "looks like an option"
    if "://" in text or "@" in text:
        return "has an address"
    if "/" in text or "\\" in text or text.startswith("."):
        return "looks like a path"
    return otherwise


def _refused(text: str, trouble: str) -> BadRequest:
    shown = ascii(text if len(text) <= 60 else text[:60] + "…")
    return BadRequest(
        f"The package {shown} {trouble}, so nothing was installed; give names with versions at "
        "most, for example 'cowsay' or 'cowsay>=6'."
    )
