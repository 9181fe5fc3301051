import json

from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient

from blitznet.runtime.predictor import BasePredictor
from blitznet.serve.app import make_app
from blitznet.serve.request import JSON_PARAMETERS, PARAMETERS


def test_every_documented_operation_exists(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    for path, methods in document["paths"].items():
        for method in methods:
            assert path == "/v1/stream" or client.request(method, path).status_code not in (404, 405)
    assert json.dumps(document).count("#/components/schemas/Result") == 2
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)


def test_every_route_is_documented_with_its_method_and_protection(predictor: BasePredictor) -> None:
    app = make_app(predictor, token="secret")
    routes = {}
    with TestClient(app) as client:
        documented = client.get("/openapi.json").json()["paths"]
        for route in app.routes:
            if isinstance(route, Route) and route.include_in_schema:
                method = next(iter((route.methods or set()) - {"HEAD"}))
                routes[route.path] = {method.lower()}
                public = client.request(method, route.path).status_code != 401
                assert (documented[route.path][method.lower()].get("security") == []) == public, route.path
            elif isinstance(route, WebSocketRoute) and "{" not in route.path:  # the last one refuses
                routes[route.path] = {"get"}
    assert routes == {path: set(methods) for path, methods in documented.items()}


def test_the_parameters_are_those_of_the_parser(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for operation, parameters in (
        (paths["/v1/predict"]["post"], PARAMETERS),
        (paths["/v1/predict/batch"]["post"], JSON_PARAMETERS),
    ):
        assert [(entry["name"], entry["schema"].get("default")) for entry in operation["parameters"]] == [
            (parameter.name, parameter.default) for parameter in parameters
        ]
    names = [entry["name"] for entry in paths["/v1/stream"]["get"]["parameters"]]
    assert names == [*(parameter.name for parameter in JSON_PARAMETERS), "token"]
