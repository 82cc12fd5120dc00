"""Findings across objects: references that lead nowhere, conflicts, rules that no request reaches.

Called by `lateen analyze`, by `validate` and by the control plane's API. Reads a MeshState and the objects it was
made of; changes nothing and refuses nothing. What one object alone can break is `config`'s business.
"""
