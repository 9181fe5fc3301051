"""The HTTP server: prediction endpoints, KServe's inference protocol, a WebSocket for video, and a web page.

May import: core, drawing, postprocess, runtime, api, Starlette, uvicorn, websockets, python_multipart,
prometheus_client (extra `serve`); ray.py: Ray (extra `ray`).
Never imports: torch. It never opens a file or an address that a client names.
"""
