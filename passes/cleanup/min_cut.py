"""The least cut of a small network with unit capacities."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Mapping

Edge = tuple[Hashable, Hashable]


def min_cut(once: Iterable[Edge], always: Iterable[Edge], source: Hashable, sink: Hashable) -> tuple[int, set[Hashable]]:
    """The size of the least cut between source and sink, and the nodes on the sink's side (as few as can be).

    Edges of `once` may be cut, at a cost of one each; those of `always` may not. Ford and Fulkerson's method, breadth first
    (Edmonds and Karp 1972): time is edges times the size of the cut. No path may lead from source to sink by `always` alone.
    """
    capacity: dict[Hashable, dict[Hashable, int]] = {source: {}, sink: {}}
    for edges, room in ((once, 1), (always, 1 << 30)):
        for a, b in edges:
            capacity.setdefault(a, {})[b] = capacity.get(a, {}).get(b, 0) + room
            capacity.setdefault(b, {}).setdefault(a, 0)
    flow = 0
    while (path := _path(capacity, source, sink)) is not None:
        at = sink
        while at != source:
            before = path[at]
            capacity[before][at] -= 1
            capacity[at][before] += 1
            at = before
        flow += 1
    return flow, _reaching(capacity, sink)


def _path(
    capacity: Mapping[Hashable, Mapping[Hashable, int]], source: Hashable, sink: Hashable
) -> dict[Hashable, Hashable] | None:
    """Which node each node on a way to the sink was reached from; None where no way is left."""
    reached: dict[Hashable, Hashable] = {source: source}
    queue = deque([source])
    while queue:
        node = queue.popleft()
        for other, room in capacity[node].items():
            if room > 0 and other not in reached:
                reached[other] = node
                if other == sink:
                    return reached
                queue.append(other)
    return None


def _reaching(capacity: Mapping[Hashable, Mapping[Hashable, int]], sink: Hashable) -> set[Hashable]:
    """The nodes from which the sink can still be reached."""
    found, queue = {sink}, deque([sink])
    while queue:
        node = queue.popleft()
        for other in capacity[node]:  # edges are kept in both directions
            if other not in found and capacity[other].get(node, 0) > 0:
                found.add(other)
                queue.append(other)
    return found
