from starlette.testclient import TestClient

from support.images import encode_random_image


def test_metrics_count_requests_and_images(client: TestClient) -> None:
    client.post("/v1/predict", content=encode_random_image())
    client.post("/v1/predict", content=b"text")
    text = client.get("/metrics").text
    assert 'blitznet_requests_total{path="/v1/predict",status="200"} 1.0' in text
    assert 'blitznet_requests_total{path="/v1/predict",status="415"} 1.0' in text
    assert "blitznet_images_total 1.0" in text
    assert "blitznet_queue 0.0" in text
    assert 'blitznet_request_seconds_count{path="/v1/predict"} 2.0' in text
