"""An MCP server that offers no tools."""

from mcp.server import MCPServer

MCPServer("empty").run()
