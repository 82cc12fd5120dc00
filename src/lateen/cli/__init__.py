"""The command line: a front end of the HTTP API, of the offline rooms and of the agent.

Every command imports what it needs when it runs, so that `lateen --help` stays quick.
"""
