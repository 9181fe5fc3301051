"""The OpenAPI 3.1 document of the server."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from blitznet.core.spec import ALL_TASKS, Task
from blitznet.serve import kserve
from blitznet.serve.limits import ServeLimits
from blitznet.serve.request import JSON_PARAMETERS, MIN_SCORE, PARAMETERS, Parameter

Schema = dict[str, Any]

_BINARY: Schema = {"schema": {"type": "string", "format": "binary"}}
_STRING: Schema = {"type": "string"}
_INTEGER: Schema = {"type": "integer"}
_RESULT_REF: Schema = {"$ref": "#/components/schemas/Result"}
_RLE_REF: Schema = {"$ref": "#/components/schemas/RunLengths"}


def _object(required: Sequence[str] = (), /, **properties: Schema) -> Schema:
    schema: Schema = {"type": "object", "properties": properties}
    return {**schema, "required": list(required)} if required else schema


def _array(items: Schema, **constraints: Any) -> Schema:
    return {"type": "array", "items": items, **constraints}


_RUN_LENGTHS = {
    **_object(
        ("size", "order", "counts", "values"),
        size=_array(_INTEGER, minItems=2, maxItems=2, description="height, width"),
        order={"type": "string", "enum": ["row-major"]},
        counts=_array(_INTEGER, description="length of each run"),
        values=_array(_INTEGER, description="value of each run"),
    ),
    "description": "run-length encoded map, row by row from the top",
}
_DETECTION = _object(
    ("class_id", "class_name", "score", "box"),
    class_id={"type": "integer", "description": "index into class_names"},
    class_name=_STRING,
    score={"type": "number"},
    box=_array({"type": "number"}, minItems=4, maxItems=4, description="x1 y1 x2 y2 in pixels"),
)
_SEGMENT = _object(
    ("id", "class_id", "class_name", "score", "area"),
    id=_INTEGER,
    class_id=_INTEGER,
    class_name=_STRING,
    score={"type": ["number", "null"], "description": "null for a class without a detection"},
    area={"type": "integer", "description": "pixels"},
)
_RESULT = _object(
    ("width", "height", "detections", "class_names"),
    width=_INTEGER,
    height=_INTEGER,
    class_names=_array(_STRING),
    detections=_array(_DETECTION),
    class_map={**_RLE_REF, "description": "0 for background, class_id + 1"},
    panoptic=_object(
        ("segmentation", "segments_info"),
        segmentation={**_RLE_REF, "description": "0 for background, id of a segment"},
        segments_info=_array(_SEGMENT),
    ),
)
_IMAGE_ERROR = {
    **_object(("error", "status"), error=_STRING, status=_INTEGER),
    "description": "the entry of an image that cannot be read; the other images have results",
}
_ERRORS = {
    "400": "invalid parameter or body",
    "401": "missing or wrong token",
    "406": "unsupported Accept header",
    "408": "the request did not arrive in time",
    "413": "too many bytes, pixels or images",
    "415": "not an image",
    "429": "the queue is full; try again",
    "503": "no result in time, or the server shuts down; try again",
}


def openapi_document(
    name: str, limits: ServeLimits, *, tasks: tuple[Task, ...] = ALL_TASKS, protected: bool
) -> dict[str, Any]:
    """The OpenAPI document of a server.

    Args:
        name: Name of the model, part of the KServe paths.
        limits: Limits of requests.
        tasks: Tasks of the model.
        protected: Whether clients must send a token.
    """
    outputs = kserve.output_tensors(tasks)
    paths: dict[str, Any] = {
        "/v1/predict": {"post": _predict(limits)},
        "/v1/predict/batch": {"post": _predict_batch(limits)},
        "/v1/model": {"get": _operation("metadata of the model", "name, classes, size and limits")},
        "/v1/stream": {"get": _stream()},
        "/v2": {"get": _public("metadata of the server (KServe)", "name and version")},
        "/v2/health/live": {"get": _public("liveness (KServe)", "the server runs")},
        "/v2/health/ready": {"get": _public("readiness (KServe)", "the server accepts images")},
        "/healthz": {"get": _public("liveness", "the server runs")},
        "/readyz": {"get": _public("readiness", "the server accepts images")},
        "/metrics": {"get": _public("Prometheus metrics", "text")},
        "/openapi.json": {"get": _public("this document", "OpenAPI 3.1")},
    }
    for path in kserve.model_paths(name):
        paths[path] = {"get": _operation("metadata of the model (KServe)", "input and output tensors")}
        paths[f"{path}/infer"] = {"post": _infer(outputs)}
        paths[f"{path}/ready"] = {"get": _public("readiness of the model (KServe)", "the server accepts images")}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "blitznet",
            "version": version("blitznet"),
            "description": "Object detection and semantic segmentation in one network.",
        },
        "paths": paths,
        "components": {"schemas": {"Result": _RESULT, "RunLengths": _RUN_LENGTHS}},
    }
    if protected:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def _predict(limits: ServeLimits) -> dict[str, Any]:
    content = {**_json(_RESULT_REF), "image/png": _BINARY}
    return {
        "summary": "predict an image",
        "description": f"At most {limits.max_body_bytes:,} bytes and {limits.max_pixels:,} pixels.",
        "parameters": _describe(PARAMETERS),
        "requestBody": {"required": True, "content": {"image/*": _BINARY}},
        "responses": _responses("JSON, the annotated image, or the class map", content),
    }


def _predict_batch(limits: ServeLimits) -> dict[str, Any]:
    images = _array({"type": "string", "contentEncoding": "base64"}, maxItems=limits.images_per_request)
    entry = {"oneOf": [_RESULT_REF, _IMAGE_ERROR]}
    return {
        "summary": "predict several images",
        "parameters": _describe(JSON_PARAMETERS),
        "requestBody": {"required": True, "content": _json(_object(("images",), images=images))},
        "responses": _responses("a result for each image", _json(_object(results=_array(entry)))),
    }


def _stream() -> dict[str, Any]:
    """OpenAPI has no WebSockets; this documents the handshake."""
    token = {"name": "token", "in": "query", "description": "token of a client that cannot send headers"}
    return {
        "summary": "a WebSocket for video frames",
        "description": "Each message is the bytes of an image file; each reply is the JSON of its result or error.",
        "parameters": [*_describe(JSON_PARAMETERS), {**token, "schema": _STRING}],
        "responses": {"101": {"description": "the WebSocket"}},
    }


def _infer(outputs: list[dict[str, Any]]) -> dict[str, Any]:
    required = ("name", "datatype", "shape", "data")
    parameters = _object(**{MIN_SCORE.name: _schema(MIN_SCORE)})
    body = _object(
        ("inputs",),
        id=_STRING,
        parameters=parameters,
        inputs=_tensors(kserve.INPUTS, required),
        outputs=_tensors(outputs, ("name",)),
    )
    result = _object(model_name=_STRING, model_version=_STRING, id=_STRING, outputs=_tensors(outputs, required))
    return {
        "summary": "predict an image (KServe)",
        "requestBody": {"required": True, "content": _json(body)},
        "responses": _responses("the requested output tensors", _json(result)),
    }


def _tensors(tensors: list[dict[str, Any]], required: Sequence[str]) -> Schema:
    tensor = _object(
        required,
        name={"type": "string", "enum": [tensor["name"] for tensor in tensors]},
        datatype=_STRING,
        shape=_array(_INTEGER),
        data=_array({}),
    )
    return _array(tensor)


def _describe(parameters: Sequence[Parameter[Any]]) -> list[dict[str, Any]]:
    return [
        {"name": parameter.name, "in": "query", "description": parameter.description, "schema": _schema(parameter)}
        for parameter in parameters
    ]


def _schema(parameter: Parameter[Any]) -> Schema:
    default = {} if parameter.default is None else {"default": parameter.default}
    return {**parameter.schema, **default}


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _responses(description: str, content: dict[str, Any]) -> dict[str, Any]:
    errors = {status: {"description": text} for status, text in _ERRORS.items()}
    return {"200": {"description": description, "content": content}, **errors}


def _operation(summary: str, description: str) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": description}}}


def _public(summary: str, description: str) -> dict[str, Any]:
    """An operation that never requires the token."""
    return {**_operation(summary, description), "security": []}
