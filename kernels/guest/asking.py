"""Questions of a program to whoever has started it, through `input` and `getpass`.

What is left of the given standard input comes first. At its end a run whose request says `ask`
puts a question, as `input_request` on the stdin channel, and reads the answer as if it had been
typed at a terminal; every other run meets the EOFError that `python` raises there. `input` is
python's own all the time: it is told from `sys.stdin.readline()`, which never asks, by wanting to
know the descriptor in the same call.

To python's protocol this adds a number in `metadata["rmi"]["question"]`, which the `input_reply`
repeats, and the message `input_withdrawn` for a question that nobody waits for any more. The
answer "\\x04", which is Ctrl-D, means that there is none.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import sys
import threading
import types
from typing import Any, Dict, Iterator, Optional, Tuple

import zmq

from .streams import Outlet

#: Seconds between two looks at whether anybody still waits for an answer.
_LOOK = 0.05
#: Bytes of a prompt that are kept, and characters that an outcome carries.
_WRITTEN, _PROMPT = 8000, 200
_NOBODY = "\x04"
_EOF = "EOF when reading a line"
#: Where `getpass` comes to when there is no terminal, or can be made to. As it is looked up anew in
#: each call, it works for a `getpass` that was imported by name before.
_GETPASS = "getpass" if os.name == "nt" else "fallback_getpass"


class _Run:
    """A run that may ask."""

    def __init__(self, parent: Dict[str, Any], ident: Any) -> None:
        self.parent, self.ident = parent, ident
        self.id = parent["header"]["msg_id"]


class _Reading(threading.local):
    """How a thread reads standard input."""

    #: The call that has asked for the descriptor, and what was written since.
    call: Optional[Tuple[int, int]] = None
    written = b""
    ended = False


class Asking:
    """Asks for the run that is under way, and notes for each what it asked for in vain."""

    def __init__(self, kernel: Any, outlet: Outlet) -> None:
        self._kernel, self._outlet = kernel, outlet
        #: The socket is for one question at a time.
        self._turn = threading.Lock()
        self._count = 0
        self._run: Optional[_Run] = None
        self._reading = _Reading()
        #: What `input`, and what `getpass` without `ask`, has written before it met the end.
        self._prompt: Optional[str] = None
        self._other_prompt: Optional[str] = None

    def abandon(self) -> None:
        """In a copy of the kernel: nobody asks there."""
        self._turn = threading.Lock()

    @contextlib.contextmanager
    def run(self, asks: bool, parent: Dict[str, Any]) -> Iterator[None]:
        """A run; `asks`: somebody can be asked."""
        read_password = getattr(getpass, _GETPASS)
        if asks:
            self._run = _Run(parent, self._kernel._parent_ident["shell"])
            setattr(getpass, _GETPASS, self._password)
        try:
            yield
        finally:
            self._run = self._prompt = self._other_prompt = None
            setattr(getpass, _GETPASS, read_password)
            vars(self._outlet).pop("write", None)

    # -- what `descriptors.Stdin` calls

    def reads_directly(self) -> None:
        """Somebody asks for the descriptor, as `input` does before it writes its prompt."""
        self._reading.call, self._reading.written = _call(), b""
        if "write" not in vars(self._outlet):
            self._note_what_is_written()

    def at_end(self) -> bytes:
        """Standard input has been read to its end; returns what is to be read nevertheless."""
        self._reading.ended = True
        call, prompt = _call(), self._reading.written.decode("utf-8", "replace")
        if call is None or call != self._reading.call:
            self._other_prompt = prompt[:_PROMPT]
            return b""
        try:
            answer = self._ask(prompt, False)
        except EOFError:
            return b""
        except BaseException as error:
            raise error.with_traceback(_beneath(error.__traceback__))  # noqa: B904
        typed = _typed(answer).encode("utf-8", "backslashreplace")
        # A terminal shows what is typed.
        self._outlet.catch_up()
        self._outlet.write("stdout", self._outlet.parent, typed)
        return typed

    def _note_what_is_written(self) -> None:
        write, reading = self._outlet.write, self._reading

        def write_and_note(stream: str, parent: Dict[str, Any], data: bytes) -> None:
            reading.written = data[-_WRITTEN:]
            write(stream, parent, data)

        # For this run: most ask for no input, and need not pay for it.
        self._outlet.write = write_and_note  # type: ignore[method-assign]

    # -- questions

    def _password(self, prompt: Any = "Password: ", stream: Any = None, **kwargs: Any) -> str:
        """In place of what `getpass` does without a terminal: that would warn of the echo."""
        try:
            stream = stream or sys.stderr
            stream.write(str(prompt))
            stream.flush()
            self._reading.ended = False
            password = sys.stdin.readline()
            if not password:
                if not self._reading.ended:
                    # The program has set another stdin.
                    raise EOFError(_EOF)
                password = _typed(self._ask(str(prompt), True)).partition("\n")[0]
            elif password.endswith("\n"):
                password = password[:-1]
            if _GETPASS == "getpass":
                stream.write("\n")
            return password
        except BaseException as error:
            raise error.with_traceback(_beneath(error.__traceback__))  # noqa: B904

    def _ask(self, prompt: str, password: bool) -> str:
        """The answer. Raises EOFError when there is none."""
        run, outlet = self._run, self._outlet
        # A thread of an earlier run has nobody to ask, nor has a forked child.
        if run is not None and not outlet.forked and outlet.parent.get("msg_id") == run.id:
            self._count += 1
            content = {"prompt": prompt, "password": password}
            question = _Question(self._kernel, self._turn, run, content, self._count)
            try:
                question.start()
                while not question.over.wait(_LOOK) and self._run is run:
                    pass
            finally:
                question.withdrawn.set()
            if question.answer is not None:
                return question.answer
        self._prompt = prompt[:_PROMPT]
        raise EOFError(_EOF)

    def told(self, reply: Dict[str, Any]) -> Dict[str, Any]:
        """`reply`, which says so when its program died because it was not given what it asked for.

        The outcome has `wanted_input` then, the prompt.
        """
        outcome = reply.get("rmi") or {}
        error = outcome.get("error") or {}
        if error.get("name") == "EOFError":
            # Not that of `pickle`.
            of_getpass = error["file"] == getpass.__file__ and error["value"] != _EOF
            prompt = self._other_prompt if of_getpass else self._prompt
            if prompt is not None and (of_getpass or error["value"] == _EOF):
                outcome["wanted_input"] = prompt
        return reply


class _Question(threading.Thread):
    """Puts one question and takes its answer. In a thread, so that no interrupt of the program
    hits a message halfway."""

    def __init__(
        self, kernel: Any, turn: threading.Lock, run: _Run, content: Dict[str, Any], number: int
    ) -> None:
        super().__init__(name="rmi question", daemon=True)
        self._socket, self._session = kernel.stdin_socket, kernel.session
        self._turn, self._run, self._content = turn, run, content
        self._metadata = {"rmi": {"question": number}}
        #: Set by whoever asks: the answer is not waited for any more.
        self.withdrawn = threading.Event()
        #: There is an answer, or there will be none.
        self.over = threading.Event()
        #: None: nobody gave one.
        self.answer: Optional[str] = None

    def run(self) -> None:
        try:
            while not self._turn.acquire(timeout=_LOOK):
                if self.withdrawn.is_set():
                    return
            try:
                with contextlib.suppress(zmq.ZMQError):
                    self._converse()
            finally:
                self._turn.release()
        finally:
            self.over.set()

    def _converse(self) -> None:
        # A client whose channel is not connected yet is told from one that has got the message.
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        while not self._sent():
            if self.withdrawn.wait(0.01):
                return
        while not self.withdrawn.is_set():
            if self._socket.poll(int(_LOOK * 1000)) and self._received():
                return
        self._send("input_withdrawn", {})

    def _sent(self) -> bool:
        try:
            self._send("input_request", self._content)
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return False
        return True

    def _send(self, kind: str, content: Dict[str, Any]) -> None:
        run = self._run
        self._session.send(
            self._socket, kind, content, run.parent, ident=run.ident, metadata=self._metadata
        )

    def _received(self) -> bool:
        """Take a message; whether it was the answer."""
        try:
            _, reply = self._session.recv(self._socket)
        except ValueError:
            # Not signed, or not a message.
            return False
        if not reply or reply["metadata"].get("rmi") != self._metadata["rmi"]:
            return False
        value = str(reply["content"].get("value", ""))
        self.answer = None if value == _NOBODY else value
        return True


def _call() -> Optional[Tuple[int, int]]:
    """The call of a program's that has led to `descriptors.Stdin`."""
    try:
        frame = sys._getframe(3)
    except ValueError:
        # A thread that runs nothing but C.
        return None
    return id(frame), frame.f_lasti


def _beneath(trace: Optional[types.TracebackType]) -> Optional[types.TracebackType]:
    """What of a traceback is not ours, nor that of waiting: nothing, unless a signal handler has
    failed."""
    while trace is not None and trace.tb_frame.f_code.co_filename in (__file__, threading.__file__):
        trace = trace.tb_next
    return trace


def _typed(answer: str) -> str:
    """The lines that were typed; at least one."""
    answer = answer.replace("\r\n", "\n").replace("\r", "\n")
    return answer if answer.endswith("\n") else answer + "\n"
