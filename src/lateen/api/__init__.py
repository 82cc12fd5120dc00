"""The HTTP API of the control plane: its schemas, its guards and its endpoints.

`app` serves it; the command line and other clients call it. It sees the control plane only through the protocol
in `api/control_plane.py`, so it knows no store, registry or gRPC.
"""
