"""Connections that the pools of all processes may open, against what their servers allow."""

from collections.abc import Iterable, Iterator

from app.pools.base import Pool
from app.pools.postgres import Connections


def by_server(pools: Iterable[Pool]) -> Iterator[list[Connections]]:
    """The database pools, those at the same server together."""
    seen: set[str] = set()
    for pool in pools:
        connections = getattr(pool, "connections", None)
        if isinstance(connections, Connections) and pool.name not in seen:
            group = connections.sharing()
            seen |= {each.name for each in group}
            yield group


def excess(pools: Iterable[Pool]) -> list[str]:
    """A sentence with the arithmetic and the remedies for each server with too little room."""
    sentences: list[str] = []
    for group in by_server(pools):
        server, processes, budget = group[0].server, group[0].processes, group[0].budget
        if server and budget > server.limit:
            sizes = " + ".join(f"{each.name} {each.most}" for each in group)
            sentences.append(
                f"The pools may open ({sizes}) x {processes} processes = {budget} connections, but "
                f"their server has room for {server.limit} (max_connections "
                f"{server.max_connections} less {server.reserved} reserved): lower the pools' "
                "sizes, WEB_CONCURRENCY or INSTANCES, raise max_connections, or put PgBouncer in "
                "between."
            )
    return sentences
