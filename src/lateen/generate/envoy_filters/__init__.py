"""EnvoyFilters at work: a snapshot as it is generated, and the patches of a proxy, to a snapshot with them applied.

Called by `generate.snapshot` and `generate.generator`. Patches are a function of single resources, so that what they
cost follows what they touch: `snapshots` applies them to the maps of a snapshot, `listeners`, `routes` and `clusters`
to one resource each, with Istio's semantics. Nothing else of generation knows that there are any.
"""
