"""The composition root: settings -> stores, registries, hub, servers, in one TaskGroup. The only room that knows all.

    stores' watch ----+
                      +--> Inputs --> Debounce --> build_state --> hub.publish --> streams
    registries' watch +                                  |
                                                         +--> the API reads the published state

Everything flows one way: a source hands over its whole content, the newest contents are debounced into one state, and
the hub takes the state. Changes made through the API and workloads that come and go skip the quiet time, since
somebody waits for them; workloads that keep coming and going get half of the time. A state that fails to build is a
bug of ours: it is logged, the last good state stays in force, and whoever waits for it is told.

Called by `lateen serve` and tests, at `app/running.py`. Must not know: command-line flags (beyond their names in
errors).
"""
