"""A graph as a Mermaid flowchart, and as text."""

from __future__ import annotations

from turnout.core.graph import Graph
from turnout.core.shape import EXIT


def mermaid(graph: Graph) -> str:
    """A flowchart: nodes, routes with their rules as labels, subgraphs as blocks."""
    ids = {name: f"n{number}" for number, name in enumerate(graph.nodes)}
    lines = ["flowchart TD", "  start([start])", "  finish([END])"]
    lines += _block(graph, ids, "", "  ")
    lines.append(f"  start --> {ids[graph.entry]}")
    for name in graph.nodes:
        for label, target in graph.after(name):
            for end in _ends(graph, target):
                arrow = f'-->|"{escaped(label)}"|' if label else "-->"
                lines.append(f"  {ids[name]} {arrow} {ids.get(end, 'finish')}")
    return "\n".join(lines)


def _block(graph: Graph, ids: dict[str, str], prefix: str, indent: str) -> list[str]:
    """The nodes under `prefix`, those of subgraphs in blocks of their own."""
    lines = [
        f'{indent}{ids[name]}["{escaped(name.removeprefix(prefix))}"]'
        for name in graph.nodes
        if name.startswith(prefix) and "/" not in name.removeprefix(prefix)
    ]
    inner = [n for n in graph.subgraphs if n.startswith(prefix) and "/" not in n.removeprefix(prefix)]
    for number, name in enumerate(inner):
        block = f"s{prefix.count('/')}_{list(graph.subgraphs).index(name)}_{number}"
        lines.append(f'{indent}subgraph {block}["{escaped(name.removeprefix(prefix))}"]')
        lines += _block(graph, ids, f"{name}/", indent + "  ")
        lines.append(f"{indent}end")
    return lines


def _ends(graph: Graph, target: str) -> list[str]:
    """The nodes (or END) that a target stands for; the end of a subgraph leads to what follows it."""
    if target.endswith(EXIT):
        return sorted(graph.successors(target.removesuffix(EXIT)))
    return [target]


def escaped(label: str) -> str:
    """A label that Mermaid shows as it is: what has a meaning to it, or to HTML, becomes an entity."""
    plain = " ".join(label.split())
    return "".join(c if c.isalnum() or c in " _-.,()=+*/" else f"#{ord(c)};" for c in plain)


def text(graph: Graph) -> str:
    """The graph as lines for a person: each node, and where it goes."""
    lines = [f"graph {graph.name}  ({len(graph.nodes)} nodes, fingerprint {graph.fingerprint})"]
    lines.append(f"state {graph.schema.name}: {', '.join(graph.schema.fields)}")
    for tool in graph.tools.values():
        lines.append(f"tool {tool.name}: {tool.effect}")
    lines += ["", f"start -> {graph.entry}"]
    for name in graph.nodes:
        lines.append(name)
        lines += [f"  {label or 'always'} -> {target}" for label, target in graph.after(name)]
    return "\n".join(lines)
