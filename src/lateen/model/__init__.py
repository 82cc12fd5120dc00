"""Frozen values that every room speaks in: services, endpoints, proxies, origins, findings.

Called by all rooms; knows none of them and nothing of YAML, protobuf or the network.
"""
