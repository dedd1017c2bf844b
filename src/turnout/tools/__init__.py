"""Tools of MCP servers: what turnout.toml says of them, what was approved of each, and the connections to them."""
