"""Making a machine a member of the mesh, and undoing it: `lateen join` and `lateen leave`.

`plans`, `checks` and `records` are pure; `observing`, `certifying` and `hosts` look at the machine and change it.
Called by `cli/join.py`.
"""
