"""Models: providers (the official SDKs, behind one port) and the gateway that chooses among deployments."""
