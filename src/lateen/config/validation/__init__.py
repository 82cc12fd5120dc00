"""Rules of the fields of each kind, as Istio's validation has them; one module per kind.

Called by `config.parsing` with a struct whose types are already right. Each rule is a function that yields the
violations of one struct, so that all of an object's violations come at once. Source: Istio's documentation of each
field and the behaviour of `pkg/config/validation`; what Istio only warns of is a warning here too. Knows nothing of
other objects: whether a host or subset exists is `analysis`' question.
"""
