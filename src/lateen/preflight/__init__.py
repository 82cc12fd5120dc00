"""Preflight: what Envoy would reject, said before it is sent.

Called by the command line and by `app/`. `flight.preflight` is the entry. `sampling` picks which services are worth a
try in a large mesh, `proxies` imagines who would be served, `flight` generates and checks. Pure. Must not know: which
proxies are connected, or where the objects are stored.
"""
