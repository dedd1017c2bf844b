"""The demo: a payments desk that is killed in the middle of its work and picks itself up."""
