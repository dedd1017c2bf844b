"""Live: what happens on threads, as it happens, for whoever watches. `watching.Live` is where watchers come to."""
