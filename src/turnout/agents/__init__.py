"""The tool-calling agent loop, as a graph to use alone or to mount in another one.

from turnout.agents import agent

desk = agent("desk", model="main", tools=[order_total, send_refund], review=[send_refund], turns=10)
"""

from turnout.agents.loop import agent
from turnout.agents.state import AgentState

__all__ = ["AgentState", "agent"]
