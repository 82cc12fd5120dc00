"""The xDS control plane: what is served to connected proxies, and what they said about it.

`values` and `protocol` are sans-IO; `wire` turns bytes into values; `nodes` reads who connected; `ledger` keeps what
was acknowledged; `hub` gives each stream its snapshot; `server` is the gRPC edge.
"""
