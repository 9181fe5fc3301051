"""The Grafana dashboard shows metrics and labels that the server has, and fits its provisioning."""

import json
import re
from collections.abc import Iterator
from itertools import combinations, pairwise
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from blitznet.api import load
from blitznet.serve.app import make_app
from support.cli_datasets import write_model
from support.images import encode_random_image
from support.servers import wait_until_ready
from support.snippets import ROOT

GRAFANA = ROOT / "deploy" / "grafana"
DASHBOARD = json.loads((GRAFANA / "dashboards" / "blitznet.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
QUERIES = [item["query"]["query"] for item in DASHBOARD["templating"]["list"] if item["type"] == "query"]
TEXT = re.compile(r'"[^"]*"')
SCRAPE_LABELS = {"instance", "job"}
"""labels that Prometheus adds to every metric"""


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Metric name -> labels, of a server that answered a request."""
    model = write_model(str(tmp_path_factory.mktemp("model") / "small.onnx"))
    with TestClient(make_app(load(model, engine="onnxruntime"))) as client:
        wait_until_ready(client)
        client.post("/v1/predict", content=encode_random_image())
        text = client.get("/metrics").text
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    return labels


def test_every_metric_and_label_exists(samples: dict[str, set[str]]) -> None:
    for expression in [*EXPRESSIONS, *QUERIES]:
        names = re.findall(r"blitznet_\w+", expression)
        assert names, expression
        known = set(SCRAPE_LABELS)
        for name in names:
            assert name in samples, expression
            known |= samples[name]
        for label in _labels(expression):
            assert label in known, (expression, label)


def _labels(expression: str) -> Iterator[str]:
    """Labels that an expression selects or groups by."""
    without_texts = TEXT.sub('""', expression)
    yield from re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*""', without_texts)
    for group in re.findall(r"\bby\s*\(([^)]*)\)", without_texts):
        yield from (label.strip() for label in group.split(","))
    yield from re.findall(r"label_values\(\w+, (\w+)\)", without_texts)


def test_every_metric_of_the_server_but_times_of_creation_is_shown(samples: dict[str, set[str]]) -> None:
    shown = {name for expression in EXPRESSIONS for name in re.findall(r"blitznet_\w+", expression)}
    redundant = {"blitznet_request_seconds_count", "blitznet_request_seconds_sum"}  # the buckets contain both
    assert {name for name in samples if not name.endswith("_created")} - redundant == shown


def test_expressions_are_balanced_and_rates_are_of_counters() -> None:
    for expression in EXPRESSIONS:
        text = TEXT.sub('""', expression)
        for left, right in ("()", "{}", "[]"):
            assert text.count(left) == text.count(right), expression
        for metric in re.findall(r"(blitznet_\w+)\{[^}]*\}\[", text):
            assert metric.endswith(("_total", "_bucket")), expression
        for metric in re.findall(r"(blitznet_\w+_(?:total|bucket))\{[^}]*\}(?!\[)", text):
            pytest.fail(f"{metric} is a counter, shown without rate: {expression}")


def test_quantiles_keep_the_label_of_the_buckets() -> None:
    quantiles = [expression for expression in EXPRESSIONS if "histogram_quantile" in expression]
    assert len(quantiles) == 3
    assert all("sum by (le)" in expression for expression in quantiles)


def test_variables_are_declared() -> None:
    declared = {item["name"] for item in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(PANELS))) - {"__rate_interval"}
    assert used == declared


def test_panels_have_different_numbers_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    for a, b in combinations([panel["gridPos"] for panel in PANELS], 2):
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert apart or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in PANELS)
    rows = sorted({panel["gridPos"]["y"] for panel in PANELS})
    heights = {panel["gridPos"]["y"]: panel["gridPos"]["h"] for panel in PANELS}
    assert all(y + heights[y] == following for y, following in pairwise(rows)), "no gaps"


def test_provisioning_finds_dashboard_and_data_source() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yaml").read_text())[
        "datasources"
    ]
    (provider,) = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "blitznet.yaml").read_text())["providers"]
    variable = next(item for item in DASHBOARD["templating"]["list"] if item["name"] == "datasource")
    assert (variable["type"], variable["query"]) == ("datasource", source["type"])
    assert variable["current"]["value"] == source["uid"]
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/blitznet.json"
    host, port = source["url"].removeprefix("http://").split(":")
    assert host in services
    assert port == "9090"
