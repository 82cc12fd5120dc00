"""The Gateway API, as a translation to what the mesh already knows.

`translation` turns Gateways and routes of `gateway.networking.k8s.io` into Istio's Gateways, VirtualServices,
DestinationRules and Secrets, each with the objects that it was made of, and computes the statuses beside. `mesh.build`
puts the results among the objects that count. Pure.
"""
