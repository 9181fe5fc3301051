"""The server's description in OpenAPI 3.1."""

from importlib.metadata import version
from typing import Any

from blitznet.core.spec import ALL_TASKS, Task
from blitznet.serve import kserve
from blitznet.serve.limits import ServeLimits

_IMAGE = {"schema": {"type": "string", "format": "binary"}}
_WORDS: list[tuple[str, str, dict[str, Any]]] = [
    ("score", "lowest score of a detection", {"type": "number", "minimum": 0, "maximum": 1, "default": 0.5}),
    ("class_map", "JSON with the class map", {"type": "boolean", "default": False}),
    ("panoptic", "JSON with the panoptic map", {"type": "boolean", "default": False}),
    ("answer", "instead of Accept", {"type": "string", "enum": ["json", "overlay", "mask"]}),
]
_DETECTION = {
    "type": "object",
    "required": ["label", "score", "box"],
    "properties": {
        "label": {"type": "string"},
        "score": {"type": "number"},
        "box": {
            "type": "array",
            "items": {"type": "number"},
            "minItems": 4,
            "maxItems": 4,
            "description": "x1 y1 x2 y2",
        },
    },
}
_RUNS = {"type": "array", "items": {"type": "integer"}, "description": "value, count, value, count ... row by row"}
_RESULT = {
    "type": "object",
    "required": ["width", "height", "detections", "names"],
    "properties": {
        "width": {"type": "integer"},
        "height": {"type": "integer"},
        "names": {"type": "array", "items": {"type": "string"}},
        "detections": {"type": "array", "items": _DETECTION},
        "class_map": {**_RUNS, "description": "0 background, 1.. of names; " + str(_RUNS["description"])},
        "panoptic": {
            "type": "object",
            "properties": {"runs": _RUNS, "segments": {"type": "array", "items": {"type": "object"}}},
        },
    },
}
_FAULT = {
    "type": "object",
    "description": "in the place of a image that cannot be read; the others are answered",
    "required": ["error", "status"],
    "properties": {"error": {"type": "string"}, "status": {"type": "integer"}},
}
_REFUSALS = {
    "400": "a word or a body that cannot be read",
    "401": "the token is missing or wrong",
    "406": "an Accept that is not served",
    "408": "the request did not come in",
    "413": "too many bytes, pixels or images",
    "415": "not an image",
    "429": "too many images wait already; try again",
    "503": "no time for it, or the server is going down; try again",
}


def document(name: str, limits: ServeLimits, *, tasks: tuple[Task, ...] = ALL_TASKS, guarded: bool) -> dict[str, Any]:
    """The whole description, of a server of the model of this name and these tasks."""
    models = {
        f"{model}{door}": described
        for model in kserve.addresses(name)
        for door, described in (
            ("", {"get": _plain("what is served, in KServe's words", "inputs and outputs")}),
            ("/infer", {"post": _infer(kserve.outputs(tasks))}),
            ("/ready", {"get": _open("whether the model takes images", "it does")}),
        )
    }
    paths: dict[str, Any] = {
        "/v1/predict": {"post": _predict(limits)},
        "/v1/predict/batch": {"post": _batch(limits)},
        "/v1/model": {"get": _plain("what is served", "a model's classes, size and limits")},
        "/v1/stream": {"get": _stream()},
        **models,
        "/v2": {"get": _open("what serves, in KServe's words", "name and version")},
        "/v2/health/live": {"get": _open("whether the server runs", "it does")},
        "/v2/health/ready": {"get": _open("whether the server takes images", "it does")},
        "/healthz": {"get": _open("whether the server runs", "it does")},
        "/readyz": {"get": _open("whether it takes images", "it does")},
        "/metrics": {"get": _open("counts for Prometheus", "text")},
        "/openapi.json": {"get": _open("this description", "OpenAPI 3.1")},
    }
    told: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "blitznet",
            "version": version("blitznet"),
            "description": "Boxes and a class for every pixel.",
        },
        "paths": paths,
        "components": {"schemas": {"Result": _RESULT}},
    }
    if guarded:
        told["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        told["security"] = [{"token": []}]
    return told


def _predict(limits: ServeLimits) -> dict[str, Any]:
    return {
        "summary": "what is in a image",
        "description": f"At most {limits.body:,} bytes and {limits.pixels:,} pixels.",
        "parameters": [_word(*word) for word in _WORDS],
        "requestBody": {"required": True, "content": {"image/*": _IMAGE}},
        "responses": {"200": _answer({"image/png": _IMAGE}), **_refusals()},
    }


def _batch(limits: ServeLimits) -> dict[str, Any]:
    images = {"type": "array", "maxItems": limits.images, "items": {"type": "string", "contentEncoding": "base64"}}
    asked = {"type": "object", "required": ["images"], "properties": {"images": images}}
    one = {"oneOf": [_reference(), _FAULT]}
    results = {"type": "object", "properties": {"results": {"type": "array", "items": one}}}
    return {
        "summary": "what is in several images",
        "parameters": [_word(*word) for word in _WORDS[:3]],
        "requestBody": {"required": True, "content": {"application/json": {"schema": asked}}},
        "responses": {
            "200": {"description": "as many results", "content": {"application/json": {"schema": results}}},
            **_refusals(),
        },
    }


def _stream() -> dict[str, Any]:
    """OpenAPI knows no WebSockets; this is how they are written down all the same."""
    words = [*_WORDS[:3], ("token", "where a client cannot send Authorization", {"type": "string"})]
    return {
        "summary": "a WebSocket for camera frames",
        "description": "Each message an image file's bytes; each answer the JSON of a image, or an error's, in turn.",
        "parameters": [_word(*word) for word in words],
        "responses": {"101": {"description": "the WebSocket"}},
    }


def _infer(outputs: list[dict[str, Any]]) -> dict[str, Any]:
    def tensors(known: list[dict[str, Any]], needed: list[str]) -> dict[str, Any]:
        names = {"type": "string", "enum": [one["name"] for one in known]}
        one = {
            "name": names,
            "datatype": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "data": {"type": "array", "items": {}},
        }
        return {"type": "array", "items": {"type": "object", "required": needed, "properties": one}}

    parameters = {"type": "object", "properties": {"score": _WORDS[0][2]}}
    whole = ["name", "datatype", "shape", "data"]
    asked = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": parameters,
            "inputs": tensors(kserve.INPUTS, whole),
            "outputs": tensors(outputs, ["name"]),
        },
    }
    told = {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "outputs": tensors(outputs, whole),
    }
    answer = {"application/json": {"schema": {"type": "object", "properties": told}}}
    return {
        "summary": "what is in a image, in KServe's words",
        "requestBody": {"required": True, "content": {"application/json": {"schema": asked}}},
        "responses": {"200": {"description": "the tensors asked for", "content": answer}, **_refusals()},
    }


def _open(summary: str, description: str) -> dict[str, Any]:
    """What everybody may ask, token or not."""
    return {**_plain(summary, description), "security": []}


def _plain(summary: str, description: str) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": description}}}


def _word(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _answer(others: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": _reference()}, **others}
    return {"description": "JSON, the image with everything drawn on it, or the class map", "content": content}


def _reference() -> dict[str, str]:
    return {"$ref": "#/components/schemas/Result"}


def _refusals() -> dict[str, Any]:
    return {code: {"description": text} for code, text in _REFUSALS.items()}
