from starlette.testclient import TestClient

from support.images import encode_random_image


def test_metrics_count_requests_and_images(client: TestClient) -> None:
    client.post("/v1/predict", content=encode_random_image())
    client.post("/v1/predict", content=b"text")
    text = client.get("/metrics").text
    assert 'blitznet_requests_total{path="/v1/predict",status="200"} 1.0' in text
    assert 'blitznet_requests_total{path="/v1/predict",status="415"} 1.0' in text
    assert "blitznet_images_total 1.0" in text
    assert "blitznet_network_images_total 1.0" in text
    assert "blitznet_queue 0.0" in text
    assert 'blitznet_request_seconds_count{path="/v1/predict",status="200"} 1.0' in text
    assert 'blitznet_request_seconds_count{path="/v1/predict",status="415"} 1.0' in text
    assert 'le="30.0",path="/v1/predict",status="200"' in text
    assert "blitznet_queue_capacity 64.0" in text


def test_metrics_count_websockets_and_unknown_addresses(client: TestClient) -> None:
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_bytes(encode_random_image())
        socket.receive_json()
        socket.send_bytes(b"text")
        socket.receive_json()
        client.get("/nope")
        text = client.get("/metrics").text
    assert 'blitznet_requests_total{path="/v1/stream",status="200"} 1.0' in text
    assert 'blitznet_requests_total{path="/v1/stream",status="415"} 1.0' in text
    assert 'blitznet_requests_total{path="other",status="404"} 1.0' in text
    assert "blitznet_websockets 1.0" in text
    assert "blitznet_ready 1.0" in text
