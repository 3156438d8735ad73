"""Bytes of runs: bounded, oldest first, on disk when they are many."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from kernels.archive import Archive, Room, Store
from kernels.errors import OutputGone

KILO = 1024


class Make(Protocol):
    def __call__(self, room: Room | None = None) -> Archive: ...


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "outputs"


@pytest.fixture
def make(folder: Path) -> Iterator[Make]:
    """Makes archives over `folder`, closed after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda room=None: stack.enter_context(contextlib.closing(Archive(folder, room)))


def filled(archive: Archive, session: str, size: int, close: bool = True, owner: str = "") -> Store:
    store = archive.open(session, owner)
    assert store.add(b"x" * size)
    if close:
        store.close()
    return store


def gone(*stores: Store) -> list[bool]:
    return [store.gone for store in stores]


class TestOneStore:
    def test_what_is_added_can_be_read_whole_and_in_part(self, make: Make, folder: Path) -> None:
        store = make().open("a")
        first, second = store.add(b"hello"), store.add(b"world" * 4 * KILO)
        assert first is not None
        assert second is not None
        assert store.read(first) == b"hello"
        assert store.read(first, 1, 3) == b"ell"
        assert store.read(first, 4, 99) == b"o"
        assert store.read(second) == b"world" * 4 * KILO
        assert store.read(second, 5, 5) == b"world"

    def test_little_needs_no_file(self, make: Make, folder: Path) -> None:
        store = make().open("a")
        store.add(b"x" * 8 * KILO)
        assert not folder.exists()

    def test_much_is_in_a_private_file_and_nothing_stays_open(
        self, make: Make, folder: Path
    ) -> None:
        before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else None
        store = filled(make(), "a", 9 * KILO)
        assert [path.stat().st_size for path in folder.iterdir()] == [9 * KILO]
        assert folder.stat().st_mode & 0o077 == 0
        assert not store.in_memory
        if before is not None:
            assert len(os.listdir("/proc/self/fd")) == len(before)

    def test_clearing_forgets_and_gives_the_room_back(self, make: Make, folder: Path) -> None:
        store = make(Room(session=20 * KILO)).open("a")
        for _ in range(10):
            assert store.add(b"x" * 15 * KILO)
            store.clear()
        assert store.add(b"y" * 10) is not None
        assert [path.stat().st_size for path in folder.iterdir()] == [10]

    def test_a_dropped_one_says_so_and_its_file_is_gone(self, make: Make, folder: Path) -> None:
        store = make().open("a")
        blob = store.add(b"x" * 10 * KILO)
        assert blob is not None
        store.drop()
        store.drop()
        with pytest.raises(OutputGone, match="no longer kept"):
            store.read(blob)
        assert list(folder.iterdir()) == []

    def test_a_file_that_somebody_took_away_is_gone_output(self, make: Make, folder: Path) -> None:
        store = make().open("a")
        blob = store.add(b"x" * 10 * KILO)
        assert blob is not None
        next(folder.iterdir()).unlink()
        with pytest.raises(OutputGone):
            store.read(blob)


class TestRoom:
    def test_the_oldest_of_a_session_goes_first(self, make: Make, folder: Path) -> None:
        archive = make(Room(session=30 * KILO))
        other = filled(archive, "other", 9 * KILO)
        stores = [filled(archive, "a", 10 * KILO) for _ in range(5)]
        assert gone(*stores, other) == [True, True, False, False, False, False]

    def test_the_oldest_of_all_goes_first(self, make: Make, folder: Path) -> None:
        archive = make(Room(all=30 * KILO))
        stores = [filled(archive, name, 10 * KILO) for name in "abcd"]
        assert gone(*stores) == [True, False, False, False]

    def test_an_owner_with_little_loses_nothing_to_one_with_much(self, make: Make) -> None:
        archive = make(Room(all=30 * KILO))
        ann = filled(archive, "a", 10 * KILO, owner="ann")
        bob = [filled(archive, name, 10 * KILO, owner="bob") for name in "bcd"]
        assert gone(ann, *bob) == [False, True, False, False]

    def test_small_ones_are_bounded_too(self, make: Make, folder: Path) -> None:
        archive = make(Room(memory=10 * KILO))
        stores = [filled(archive, "a", 4 * KILO) for _ in range(4)]
        assert gone(*stores) == [True, True, False, False]
        assert not folder.exists()

    def test_one_that_is_written_to_is_never_dropped(self, make: Make, folder: Path) -> None:
        archive = make(Room(session=30 * KILO))
        first = filled(archive, "a", 20 * KILO, close=False)
        second = archive.open("a")
        assert second.add(b"x" * 20 * KILO) is None
        assert second.trouble == "the outputs of a session may take 0 MB"
        assert not first.gone
        assert first.add(b"x" * 5 * KILO)

    def test_one_alone_may_take_no_more_than_a_session(self, make: Make, folder: Path) -> None:
        store = make(Room(session=1024 * KILO)).open("a")
        while store.add(b"x" * 100 * KILO):
            pass
        assert store.trouble == "the outputs of a session may take 1 MB"
        assert store.add(b"x") is None
        assert next(folder.iterdir()).stat().st_size == 1000 * KILO

    def test_what_its_user_holds_for_want_of_room_counts(self, make: Make, folder: Path) -> None:
        archive = make(Room(memory=10 * KILO))
        first = archive.open("a")
        first.hold(8 * KILO)
        first.close()
        second = archive.open("b")
        second.hold(8 * KILO)
        assert gone(first, second) == [True, False]


class TestADiskThatTakesNothing:
    def test_what_was_there_stays_and_the_reason_is_told(self, make: Make, folder: Path) -> None:
        folder.write_text("a file where the folder should be")
        store = make().open("a")
        small = store.add(b"x" * KILO)
        assert small is not None
        assert store.add(b"x" * 10 * KILO) is None
        assert store.trouble.startswith("the disk does not take it: ")
        assert store.read(small) == b"x" * KILO
        store.clear()
        store.close()

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no disk that is always full here")
    def test_a_full_one_keeps_what_was_written_before(self, make: Make, folder: Path) -> None:
        store = make().open("a")
        blob = store.add(b"x" * 10 * KILO)
        assert blob is not None
        assert store._file is not None
        with open("/dev/full", "wb", buffering=0) as full:
            os.dup2(full.fileno(), store._file.fileno())
        assert store.add(b"y" * KILO) is None
        assert "No space left" in store.trouble
        assert store.read(blob) == b"x" * 10 * KILO
