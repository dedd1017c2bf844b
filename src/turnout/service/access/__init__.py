"""Who may do what: callers, their rights, and how they sign in. No word of HTTP: API and console both use it."""
