"""The wire formats of the providers, as far as an answer of text and calls of tools needs them."""

from __future__ import annotations

import json
from typing import Any

#: What each answer is said to have cost.
READ, WRITTEN = 100, 20
Calls = list[tuple[str, dict[str, Any]]]


def error(api: str, status: int, message: str) -> dict[str, Any]:
    """The body of a refusal."""
    if api == "anthropic":
        kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
        return {
            "type": "error",
            "error": {"type": kinds.get(status, "api_error"), "message": message},
        }
    if api == "google":
        names = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 404: "NOT_FOUND"}
        names |= {429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}
        name = names.get(status, "INTERNAL")
        return {"error": {"code": status, "message": message, "status": name}}
    codes = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
    kind = {"type": "invalid_request_error", "code": codes.get(status), "param": None}
    return {"error": {"message": message, **kind}}


def whole(api: str, number: int, text: str, calls: Calls, model: str) -> dict[str, Any]:
    """An answer of a model in one piece."""
    answer = _whole(api, number, text, calls)
    answer["modelVersion" if api == "google" else "model"] = model
    return answer


def _whole(api: str, number: int, text: str, calls: Calls) -> dict[str, Any]:
    if api == "chat":
        message = {"role": "assistant", "content": text or None, "refusal": None}
        if calls:
            message["tool_calls"] = [_chat_call(number, i, call) for i, call in enumerate(calls)]
        reason = "tool_calls" if calls else "stop"
        choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
        return {**_chat("chat.completion", number), "choices": [choice], "usage": _CHAT_USAGE}
    if api == "responses":
        return _response(number, "completed", _items(number, text, calls))
    if api == "anthropic":
        return {
            **_message(number),
            "content": _blocks(number, text, calls),
            "stop_reason": "tool_use" if calls else "end_turn",
            "usage": {"input_tokens": READ, "output_tokens": WRITTEN},
        }
    return _gemini(_parts(number, text, calls), is_last=True)


def streamed(api: str, number: int, text: str, calls: Calls, model: str) -> list[str]:
    """The same as server-sent events, the text in several."""
    kind = {"chat": _chat_events, "responses": _response_events, "anthropic": _message_events}
    events = kind.get(api, _gemini_events)(number, text, calls)
    # Of the models of a script only the name differs.
    return [event.replace('"scripted"', json.dumps(model)) for event in events]


def _gemini_events(number: int, text: str, calls: Calls) -> list[str]:
    parts = [{"text": piece} for piece in _pieces(text)] + _parts(number, "", calls)
    last = len(parts) - 1
    return [_event(_gemini([part], is_last=i == last)) for i, part in enumerate(parts)]


def _pieces(text: str) -> list[str]:
    return [text[at : at + 7] for at in range(0, len(text), 7)]


def _event(data: dict[str, Any] | str, name: str = "") -> str:
    text = data if isinstance(data, str) else json.dumps(data)
    return f"event: {name}\ndata: {text}\n\n" if name else f"data: {text}\n\n"


# -- OpenAI, chat completions

_CHAT_USAGE = {
    "prompt_tokens": READ,
    "completion_tokens": WRITTEN,
    "total_tokens": READ + WRITTEN,
}


def _chat(kind: str, number: int) -> dict[str, Any]:
    return {"id": f"chat-{number}", "object": kind, "created": 1, "model": "scripted"}


def _chat_call(number: int, index: int, call: tuple[str, Any]) -> dict[str, Any]:
    function = {"name": call[0], "arguments": json.dumps(call[1])}
    return {"id": f"call_{number}_{index}", "type": "function", "function": function}


def _chat_events(number: int, text: str, calls: Calls) -> list[str]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": piece} for piece in _pieces(text)]
    for index, call in enumerate(calls):
        deltas.append({"tool_calls": [{"index": index, **_chat_call(number, index, call)}]})
    base = _chat("chat.completion.chunk", number)
    events = [
        {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        for delta in deltas
    ]
    reason = "tool_calls" if calls else "stop"
    events.append({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    events.append({**base, "choices": [], "usage": _CHAT_USAGE})
    return [*map(_event, events), _event("[DONE]")]


# -- OpenAI, responses


def _items(number: int, text: str, calls: Calls) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if text:
        part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        items.append(
            {
                "type": "message",
                "id": f"msg_{number}",
                "status": "completed",
                "role": "assistant",
                "content": [part],
            }
        )
    for index, (name, arguments) in enumerate(calls):
        items.append(
            {
                "type": "function_call",
                "id": f"fc_{number}_{index}",
                "call_id": f"call_{number}_{index}",
                "name": name,
                "arguments": json.dumps(arguments),
                "status": "completed",
            }
        )
    return items


def _response(number: int, status: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    usage = {
        "input_tokens": READ,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": WRITTEN,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": READ + WRITTEN,
    }
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": 1,
        "status": status,
        "model": "scripted",
        "output": items,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "temperature": 1.0,
        "top_p": 1.0,
        "usage": usage if status == "completed" else None,
    }


def _response_events(number: int, text: str, calls: Calls) -> list[str]:
    items = _items(number, text, calls)
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": _response(number, "in_progress", [])}
    ]
    for index, item in enumerate(items):
        place = {"output_index": index, "item_id": item["id"]}
        begun = {**item, "status": "in_progress"}
        begun |= {"content": []} if item["type"] == "message" else {"arguments": ""}
        events.append({"type": "response.output_item.added", "output_index": index, "item": begun})
        if item["type"] == "message":
            part = item["content"][0]
            inside = {**place, "content_index": 0}
            empty = {**part, "text": ""}
            events.append({"type": "response.content_part.added", **inside, "part": empty})
            for piece in _pieces(text):
                delta = {"delta": piece, "logprobs": []}
                events.append({"type": "response.output_text.delta", **inside, **delta})
            done = {"text": text, "logprobs": []}
            events.append({"type": "response.output_text.done", **inside, **done})
            events.append({"type": "response.content_part.done", **inside, "part": part})
        else:
            arguments = item["arguments"]
            kind = "response.function_call_arguments"
            events.append({"type": f"{kind}.delta", **place, "delta": arguments})
            named = {"arguments": arguments, "name": item["name"]}
            events.append({"type": f"{kind}.done", **place, **named})
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    ended = _response(number, "completed", items)
    events.append({"type": "response.completed", "response": ended})
    return [
        _event({**event, "sequence_number": i}, event["type"]) for i, event in enumerate(events)
    ]


# -- Anthropic


def _message(number: int) -> dict[str, Any]:
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": "scripted",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": READ, "output_tokens": 1},
    }


def _blocks(number: int, text: str, calls: Calls) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    for index, (name, arguments) in enumerate(calls):
        ident = f"toolu_{number}_{index}"
        blocks.append({"type": "tool_use", "id": ident, "name": name, "input": arguments})
    return blocks


def _message_events(number: int, text: str, calls: Calls) -> list[str]:
    events: list[dict[str, Any]] = [{"type": "message_start", "message": _message(number)}]
    for index, block in enumerate(_blocks(number, text, calls)):
        is_text = block["type"] == "text"
        begun = {**block, **({"text": ""} if is_text else {"input": {}})}
        events.append({"type": "content_block_start", "index": index, "content_block": begun})
        if is_text:
            deltas = [{"type": "text_delta", "text": piece} for piece in _pieces(text)]
        else:
            whole = json.dumps(block["input"])
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in (whole,)]
        events += [
            {"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas
        ]
        events.append({"type": "content_block_stop", "index": index})
    reason = {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None}
    usage = {"output_tokens": WRITTEN}
    events.append({"type": "message_delta", "delta": reason, "usage": usage})
    events.append({"type": "message_stop"})
    return [_event(event, event["type"]) for event in events]


# -- Gemini


def _parts(number: int, text: str, calls: Calls) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"text": text}] if text else []
    for index, (name, arguments) in enumerate(calls):
        call = {"id": f"call_{number}_{index}", "name": name, "args": arguments}
        parts.append({"functionCall": call})
    return parts


def _gemini(parts: list[dict[str, Any]], *, is_last: bool) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if is_last:
        candidate["finishReason"] = "STOP"
    return {
        "candidates": [candidate],
        "usageMetadata": {
            "promptTokenCount": READ,
            "candidatesTokenCount": WRITTEN,
            "totalTokenCount": READ + WRITTEN,
        },
        "modelVersion": "scripted",
        "responseId": "r",
    }
