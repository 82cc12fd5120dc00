"""The only place where Envoy messages are built: names, listeners, filters, routes, clusters, endpoints, secrets.

Pure: values in, message fields or bytes out. `bootstrap` alone is plain JSON without protobuf, because the agent
imports it and must stay small.
"""
