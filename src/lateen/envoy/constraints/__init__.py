"""What Envoy checks when it is given a message: the rules in its API's sources, and those of its loading code.

Called by `preflight/` with resources that were generated. `checking.Checker` is the entry. `compiling` reads the
rules of protoc-gen-validate that the descriptors carry, `kinds` says when a value breaks one, `loading` and its
neighbours are the tables of what Envoy's code refuses besides. Must not know: proxies, states, findings.
"""
