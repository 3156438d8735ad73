"""A host's file: read as it is, and replaced whole, with the former one beside it."""

from __future__ import annotations

import os
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from client.hosts.errors import HostError

_LARGEST = 16 * 1024 * 1024


def backup_of(path: Path) -> Path:
    """Where the state before the last change of a file is kept."""
    return path.with_name(path.name + ".rmi-agent-backup")


def load(path: Path) -> str | None:
    """The text of a file, line ends and a byte order mark included; None where there is none.

    Raises `HostError` for what is no text of a usual size.
    """
    with _told(path, "read"):
        try:
            facts = os.stat(path)
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(facts.st_mode):
            raise HostError(f"{path} is a directory, where a file should be. Move it away.")
        if not stat.S_ISREG(facts.st_mode):
            raise HostError(f"{path} is no ordinary file, and stays as it is.")
        if facts.st_size > _LARGEST:
            size = facts.st_size // (1024 * 1024)
            raise HostError(
                f"{path} has {size} MB, more than a configuration has (16 MB at most); it stays "
                "as it is. Look into it, or move it away."
            )
        data = path.read_bytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise HostError(
            f"{path} is not in UTF-8 (line {line}), and stays as it is. Save it as UTF-8, or move "
            "it away, and try again."
        ) from None


def save(path: Path, old: str | None, new: str, *, private: bool) -> Path | None:
    """Replace a file's text, whole or not at all, and return where the former text is kept.

    `old` is what `load` gave: when the file is another one by now, it stays. A new file is
    readable by its owner alone if it is `private`. Mode and owner of an existing one stay, and
    links go on to lead to it. Raises `HostError`.
    """
    with _told(path, "written"):
        real = Path(os.path.realpath(path))
        if old is None:
            mode = 0o600 if private else 0o666 & ~_umask()
            real.parent.mkdir(parents=True, exist_ok=True)
            _replace(real, old, new, mode, None)
            return None
        facts = os.stat(real)
        if not os.access(real, os.W_OK):
            raise HostError(f"{path} is protected from being written, and stays as it is.")
        backup = keep(path, old)
        _replace(real, old, new, stat.S_IMODE(facts.st_mode), facts)
        return backup


def keep(path: Path, text: str | None) -> Path | None:
    """Put a file's text beside it, in place of what was kept before, and return where; None when
    there is nothing to keep. Raises `HostError`."""
    if not (text or "").strip():
        return None
    assert text is not None
    backup = backup_of(path)
    with _told(backup, "written"):
        facts = os.stat(path)
        _put(backup, text.encode(), stat.S_IMODE(facts.st_mode), facts)
    return backup


def save_bytes(path: Path, data: bytes) -> None:
    """Have a file with these bytes, whole or not at all. Raises `HostError`."""
    with _told(path, "written"):
        _put(Path(os.path.realpath(path)), data, 0o666 & ~_umask(), None)


def _replace(
    real: Path, old: str | None, new: str, mode: int, owner: os.stat_result | None
) -> None:
    if load(real) != old:
        raise HostError(f"{real} was changed by another program just now. Try again.")
    _put(real, new.encode(), mode, owner)


def _put(path: Path, data: bytes, mode: int, owner: os.stat_result | None) -> None:
    """Have a file with these bytes, through a new one beside it that is complete on disk first."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if sys.platform != "win32" and owner is not None:
            # As root we would take the file from its owner, who could not read it then.
            with suppress(OSError):
                os.chown(temporary, owner.st_uid, owner.st_gid)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@contextmanager
def _told(path: Path, what: str) -> Iterator[None]:
    """What the system refuses, in a sentence."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise HostError(f"{path} cannot be {what}: {reason}.") from None
    except ValueError as error:  # a path that no system takes
        raise HostError(f"{str(path)!r} cannot be {what}: {error}.") from None
