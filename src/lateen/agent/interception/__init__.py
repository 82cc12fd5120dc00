"""Transparent interception on Linux: whose connections are led to the sidecar, by which rules, and how they go again.

`capture` says what is wanted; `nft` and `iptables` turn that into rules, both pure. `programs` gives rules to the
kernel and takes them back, `records` remembers what was given, `trials` takes back what nobody confirmed, and `network`
makes an app a network namespace of its own, where `relay` answers its DNS. Used by `lifecycle` and by
`lateen intercept`.
"""
