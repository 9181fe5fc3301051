"""The OpenAPI 3.1 document of the server."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from blitznet.core.spec import Spec
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
_ERROR = _object(("error",), error=_STRING)
_MODEL = _object(
    ("name", "classes", "tasks", "size", "engine", "precision", "limits"),
    name=_STRING,
    classes=_array(_STRING),
    tasks=_array({"type": "string", "enum": ["detection", "segmentation"]}),
    size=_array(_INTEGER, minItems=2, maxItems=2, description="height, width of the network's input"),
    engine=_STRING,
    precision=_STRING,
    license={"type": ["string", "null"]},
    limits={"type": "object", "additionalProperties": {"type": "number"}},
)
_BASE64: Schema = {"type": "string", "description": "an image file in base64, or a data: URI"}
_ERRORS = {
    "400": "invalid parameter or body",
    "401": "missing or wrong token",
    "403": "a host or web page that is not allowed",
    "406": "unsupported Accept header",
    "408": "the request did not arrive in time",
    "413": "too many bytes, pixels or images",
    "415": "not an image",
    "429": "the server is busy; try again",
    "500": "internal error",
    "503": "no result in time, or the server shuts down; try again",
}


def openapi_document(spec: Spec, limits: ServeLimits, *, protected: bool) -> dict[str, Any]:
    """The OpenAPI document of a server.

    Args:
        spec: Metadata of the model; its name is part of the KServe paths.
        limits: Limits of requests.
        protected: Whether clients must send a token.
    """
    outputs = kserve.output_tensors(spec.tasks)
    paths: dict[str, Any] = {
        "/v1/predict": {"post": _predict(limits)},
        "/v1/predict/batch": {"post": _predict_batch(limits)},
        "/v1/model": {"get": _operation("get_model", "metadata of the model", _json(_MODEL))},
        "/v1/stream": {"get": _stream()},
        "/v2": {"get": _public("kserve_server", "metadata of the server (KServe)")},
        "/v2/health/live": {"get": _public("kserve_live", "liveness (KServe)")},
        "/v2/health/ready": {"get": _readiness("kserve_ready", "readiness (KServe)")},
        "/healthz": {"get": _public("health", "liveness")},
        "/readyz": {"get": _readiness("ready", "readiness; 503 until the network is warm")},
        "/metrics": {"get": _public("metrics", "Prometheus metrics", {"text/plain": {"schema": _STRING}})},
        "/openapi.json": {"get": _public("openapi", "this document")},
    }
    for path, suffix in zip(kserve.model_paths(spec.name), ("", "_version"), strict=True):
        summary = "metadata of the model (KServe)"
        paths[path] = {"get": _operation(f"kserve_model{suffix}", summary, _json({"type": "object"}))}
        paths[f"{path}/infer"] = {"post": _infer(f"kserve_infer{suffix}", outputs)}
        paths[f"{path}/ready"] = {"get": _readiness(f"kserve_model_ready{suffix}", "readiness of the model (KServe)")}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "blitznet",
            "version": version("blitznet"),
            "description": "Object detection and semantic segmentation in one network.",
        },
        "servers": [{"url": "./", "description": "relative to this document, so also behind a prefix"}],
        "paths": paths,
        "components": {"schemas": {"Result": _RESULT, "RunLengths": _RUN_LENGTHS, "Error": _ERROR}},
    }
    if protected:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def _predict(limits: ServeLimits) -> dict[str, Any]:
    content = {**_json(_RESULT_REF), "image/jpeg": _BINARY, "image/png": _BINARY}
    body = {
        "application/octet-stream": _BINARY,
        "image/jpeg": _BINARY,
        "image/png": _BINARY,
        "multipart/form-data": {"schema": _object(("image",), image={"type": "string", "format": "binary"})},
        **_json(_object(("image",), image=_BASE64)),
    }
    return {
        "operationId": "predict",
        "summary": "predict an image",
        "description": f"At most {limits.max_body_bytes:,} bytes and {limits.max_pixels:,} pixels.",
        "parameters": _describe(PARAMETERS),
        "requestBody": {"required": True, "content": body},
        "responses": _responses("JSON, the annotated image, or the class map", content),
    }


def _predict_batch(limits: ServeLimits) -> dict[str, Any]:
    images = _array(_BASE64, minItems=1, maxItems=limits.images_per_request)
    entry = {"anyOf": [_RESULT_REF, _IMAGE_ERROR]}
    files = _array({"type": "string", "format": "binary"}, minItems=1, maxItems=limits.images_per_request)
    body = {
        **_json(_object(("images",), images=images)),
        "multipart/form-data": {"schema": _object(("images",), images={"anyOf": [files, _BASE64]})},
    }
    return {
        "operationId": "predict_batch",
        "summary": "predict several images",
        "parameters": _describe(JSON_PARAMETERS),
        "requestBody": {"required": True, "content": body},
        "responses": _responses("a result for each image", _json(_object(("results",), results=_array(entry)))),
    }


def _stream() -> dict[str, Any]:
    """OpenAPI has no WebSockets; this documents the handshake."""
    token = {"name": "token", "in": "query", "description": "token of a client that cannot send headers"}
    statuses = {
        "101": "the WebSocket",
        "401": _ERRORS["401"],
        "403": _ERRORS["403"],
        "426": "a request without a WebSocket handshake",
        "503": "too many WebSockets are open",
    }
    return {
        "operationId": "stream",
        "summary": "a WebSocket for video frames",
        "description": "Each message is the bytes of an image file; each reply is the JSON of its result or error.",
        "parameters": [*_describe(JSON_PARAMETERS), {**token, "schema": _STRING}],
        "responses": {status: {"description": text} for status, text in statuses.items()},
    }


def _infer(operation_id: str, outputs: list[dict[str, Any]]) -> dict[str, Any]:
    score = _object(**{MIN_SCORE.name: _schema(MIN_SCORE), "binary_data_output": {"type": "boolean"}})
    body = _object(
        ("inputs",),
        id=_STRING,
        parameters=score,
        inputs={**_tensors(kserve.INPUTS, ("name", "datatype", "shape", "data")), "minItems": 1, "maxItems": 1},
        outputs=_tensors(outputs, ("name",)),
    )
    required = ("name", "datatype", "shape")
    result = _object(
        ("model_name", "model_version", "outputs"),
        model_name=_STRING,
        model_version=_STRING,
        id=_STRING,
        outputs=_tensors(outputs, required),
    )
    return {
        "operationId": operation_id,
        "summary": "predict an image (KServe)",
        "description": "Binary tensors are supported (Inference-Header-Content-Length).",
        "requestBody": {"required": True, "content": {**_json(body), "application/octet-stream": _BINARY}},
        "responses": _responses("the requested output tensors", {**_json(result), "application/octet-stream": _BINARY}),
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
    errors = {
        status: {"description": text, "content": _json({"$ref": "#/components/schemas/Error"})}
        for status, text in _ERRORS.items()
    }
    return {"200": {"description": description, "content": content}, **errors}


def _operation(operation_id: str, summary: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
    """An operation without parameters."""
    error = _json({"$ref": "#/components/schemas/Error"})
    responses = {
        "200": {"description": summary, "content": content or _json({"type": "object"})},
        "401": {"description": _ERRORS["401"], "content": error},
        "403": {"description": _ERRORS["403"], "content": error},
    }
    return {"operationId": operation_id, "summary": summary, "responses": responses}


def _public(operation_id: str, summary: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
    """An operation that never requires the token."""
    operation = _operation(operation_id, summary, content)
    del operation["responses"]["401"]
    return {**operation, "security": []}


def _readiness(operation_id: str, summary: str) -> dict[str, Any]:
    """A readiness check."""
    operation = _public(operation_id, summary)
    operation["responses"]["503"] = {"description": "not ready", "content": _json({"type": "object"})}
    return operation
