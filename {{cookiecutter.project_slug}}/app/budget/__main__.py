"""Print the connection budget, as `make budget` does; exit with 1 when it does not fit."""

import asyncio
import sys

from app.budget.arithmetic import by_server, excess
from app.lifespan import lifespan
from app.main import create_app
from app.settings import load

ROW = "{:<24}{:>12}{:>10}{:>12}{:>8}"


async def main() -> int:
    settings = load().model_copy(update={"budget": "warn", "log_level": "ERROR"})
    app = create_app(settings)
    async with lifespan(app):
        for group in by_server(app.state.pools):
            print(ROW.format("pool", "connections", "workers", "instances", "total"))
            for each in group:
                row = (each.name, each.most, settings.web_concurrency, settings.instances)
                print(ROW.format(*row, each.most * each.processes))
            server = group[0].server
            room = server.limit if server else "unknown"
            print(ROW.format("together", "", "", "", group[0].budget))
            print(ROW.format("the server has room for", "", "", "", room), end="\n\n")
        sentences = excess(app.state.pools)
    print(*sentences, sep="\n", end="")
    return 1 if sentences else 0


sys.exit(asyncio.run(main()))
