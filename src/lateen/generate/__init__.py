"""(state, proxy) to resources: which listeners, routes, clusters, endpoints and secrets a proxy gets. Pure."""
