"""The server: images in by HTTP, results out, and a page for people.

May import: core, runtime, view, api, Starlette, uvicorn, prometheus_client (extra `serve`).
Never comes in: torch; a file or an address on a client's word.
"""
