"""The state of a notebook's widgets, and Output widgets, which catch what cells put out."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kernels.steps import Send
from notebooks.areas import Area
from notebooks.streams import savable

#: The form of a notebook's metadata that holds the state.
STATE = "application/vnd.jupyter.widget-state+json"
_TARGET = "jupyter.widget"

_Path = tuple[str | int, ...]


@dataclass(eq=False)
class _Model:
    """A widget. `area`: what it shows, when it is an Output widget."""

    id: str
    area: Area | None
    state: dict[str, Any] = field(default_factory=dict)
    #: Binary values, by where they belong in the state.
    buffers: dict[_Path, bytes] = field(default_factory=dict)
    #: The request whose outputs it catches, or "".
    catches: str = ""

    def update(self, state: Mapping[str, Any], buffers: Mapping[_Path, bytes]) -> None:
        """Exchange the values of these names."""
        names = {*state, *(path[0] for path in buffers)}
        self.state.update(state)
        for path in [path for path in self.buffers if path[0] in names]:
            del self.buffers[path]
        for path, buffer in buffers.items():
            self.buffers[path] = buffer
            if len(path) == 1:
                self.state.pop(str(path[0]), None)

    def saved(self) -> dict[str, Any]:
        """As a notebook's metadata has it."""
        state: dict[str, Any] = savable(self.state)[0]
        if self.area is not None:
            state = {**state, "outputs": self.area.outputs()}
        saved: dict[str, Any] = {
            name: state.get(f"_{name}")
            for name in ("model_name", "model_module", "model_module_version")
        }
        saved["state"] = state
        if self.buffers:
            saved["buffers"] = [
                {
                    "data": base64.b64encode(data).decode(),
                    "encoding": "base64",
                    "path": list(path),
                }
                for path, data in self.buffers.items()
            ]
        return saved


class Widgets:
    """The widgets that a kernel has, told by its comm messages.

    `make_area` makes the place for what an Output widget shows; what has come to stand there is
    sent back with `send`, if there is one: the kernel does not know it otherwise.
    """

    def __init__(self, make_area: Callable[[], Area], send: Send | None) -> None:
        self._make_area, self._send = make_area, send
        self._models: dict[str, _Model] = {}
        self._by_area: dict[Area, _Model] = {}
        #: Those that catch the outputs of a request; the last one gets them.
        self._catching: dict[str, list[_Model]] = {}
        #: Requests that are under way, and Output widgets of which there is news to send.
        self._busy: set[str] = set()
        self._news: dict[_Model, None] = {}

    def area(self, request: str) -> Area | None:
        """Where outputs of a request go instead of its cell."""
        catching = self._catching.get(request)
        return catching[-1].area if catching else None

    def state(self) -> dict[str, Any] | None:
        """For a notebook's metadata; None: there are no widgets."""
        models = {
            model.id: model.saved()
            for model in self._models.values()
            if "_model_name" in model.state
        }
        if not models:
            return None
        return {STATE: {"state": models, "version_major": 2, "version_minor": 0}}

    def feed(self, kind: str, content: Mapping[str, Any], buffers: Sequence[bytes]) -> None:
        """Take a comm message. Raises what a malformed one brings about; it changes nothing."""
        comm, data = content["comm_id"], content.get("data") or {}
        model = self._models.get(comm)
        if kind == "comm_close":
            self._close(model)
        elif kind == "comm_open" and content.get("target_name") == _TARGET:
            state, binary = _change(data, buffers)
            self._close(model)
            name = state.get("_model_module"), state.get("_model_name")
            is_output = name == ("@jupyter-widgets/output", "OutputModel")
            model = self._models[comm] = _Model(comm, self._make_area() if is_output else None)
            if model.area is not None:
                self._by_area[model.area] = model
            self._update(model, state, binary)
        # Not `echo_update`: that is what was sent from here, and older than what is here.
        elif kind == "comm_msg" and model is not None and data.get("method") == "update":
            self._update(model, *_change(data, buffers))

    def _update(
        self, model: _Model, state: Mapping[str, Any], buffers: Mapping[_Path, bytes]
    ) -> None:
        if model.area is not None:
            if isinstance(outputs := state.get("outputs"), list):
                model.area.replace(outputs)
            if isinstance(request := state.get("msg_id"), str):
                self._catch(model, request)
            # Kept in the area alone.
            state = {name: value for name, value in state.items() if name != "outputs"}
        model.update(state, buffers)

    def _catch(self, model: _Model, request: str) -> None:
        if model.catches:
            catching = self._catching[model.catches]
            catching.remove(model)
            if not catching:
                del self._catching[model.catches]
        model.catches = request
        if request:
            self._catching.setdefault(request, []).append(model)

    def _close(self, model: _Model | None) -> None:
        if model is None:
            return
        del self._models[model.id]
        self._news.pop(model, None)
        self._catch(model, "")
        if model.area is not None:
            del self._by_area[model.area]
            model.area.clear()

    # -- what goes back to the kernel

    def note_status(self, request: str, state: object) -> None:
        """Note that a request is under way ("busy") or over ("idle")."""
        if state == "busy":
            self._busy.add(request)
        elif state == "idle":
            self._busy.discard(request)
            self._tell()

    def note_changed(self, areas: Iterable[Area], request: str) -> None:
        """Note that outputs of a request have changed these places."""
        for area in areas:
            if area in self._by_area:
                self._news[self._by_area[area]] = None
        # The kernel reads it when the request is over; until then once is enough.
        if self._news and request not in self._busy:
            self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, {}
        for model in news:
            if self._send is not None and model.area is not None:
                state = {"outputs": model.area.outputs()}
                data = {"method": "update", "state": state, "buffer_paths": []}
                self._send("comm_msg", {"comm_id": model.id, "data": data})


def _change(
    data: Mapping[str, Any], buffers: Sequence[bytes]
) -> tuple[Mapping[str, Any], dict[_Path, bytes]]:
    """The values that a message has, and the binary ones among them."""
    state = data["state"]
    paths = data.get("buffer_paths") or []
    if not isinstance(state, Mapping) or not all(paths):
        raise TypeError("state")
    savable(state)
    return state, {tuple(path): bytes(buffer) for path, buffer in zip(paths, buffers, strict=False)}
