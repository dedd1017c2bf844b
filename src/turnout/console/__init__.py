"""The console: pages over the read models of `service`. Server-rendered, with small modules of its own beside them."""
