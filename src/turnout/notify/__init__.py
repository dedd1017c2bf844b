"""Notices to people and other systems: what turnout.toml says of channels, and what sends them."""
