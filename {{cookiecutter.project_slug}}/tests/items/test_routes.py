"""Read an item, store many at once."""

# Goes with the examples.

from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from app.pools.postgres import Connection

VALUES: list[Any] = [{"n": 1, "deep": [None, True]}, [1, "two"], "text", 1.5, None, False]


async def test_what_was_stored_is_read_as_json(client: httpx.AsyncClient) -> None:
    items = [{"name": f"item {n}", "value": value} for n, value in enumerate(VALUES)]
    answer = await client.post("/items/batch", json=items)
    assert (answer.status_code, answer.json()) == (200, {"inserted": len(VALUES)})
    for item_id, item in enumerate(items, start=1):
        answer = await client.get(f"/items/{item_id}")
        assert (answer.status_code, answer.json()) == (200, {"id": item_id, **item})


# What JSON and PostgreSQL have in common: no NUL, and no half of a character.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=50)
# Beyond 1e15 PostgreSQL writes a float as an integer, which Python reads as one.
NUMBERS = st.integers() | st.floats(min_value=-1e15, max_value=1e15)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=20,
)
ITEMS = st.lists(st.fixed_dictionaries({"name": TEXT.filter(len), "value": JSON}), min_size=1)


# The service and its table are the same for all examples; each reads what it has stored itself.
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
    derandomize=True,
    max_examples=30,
)
@given(items=ITEMS)
async def test_whatever_is_stored_is_read_as_it_was(
    client: httpx.AsyncClient, observer: Connection, items: list[dict[str, Any]]
) -> None:
    answer = await client.post("/items/batch", json=items)
    assert (answer.status_code, answer.json()) == (200, {"inserted": len(items)})
    last = await observer.fetchval("SELECT max(id) FROM items")
    for item_id, item in enumerate(items, start=last - len(items) + 1):
        answer = await client.get(f"/items/{item_id}")
        assert (answer.status_code, answer.json()) == (200, {"id": item_id, **item})


async def test_an_item_that_is_not_there(client: httpx.AsyncClient) -> None:
    assert (await client.get("/items/1")).status_code == 404


async def test_as_many_as_allowed_and_one_more(
    client: httpx.AsyncClient, observer: Connection
) -> None:
    items = [{"name": "x", "value": n} for n in range(10_000)]
    answer = await client.post("/items/batch", json=items)
    assert answer.json() == {"inserted": 10_000}
    assert await observer.fetchval("SELECT count(*) FROM items") == 10_000
    answer = await client.post("/items/batch", json=[*items, items[0]])
    assert answer.status_code == 422
    assert await observer.fetchval("SELECT count(*) FROM items") == 10_000


@pytest.mark.parametrize(
    "bad",
    [
        {"name": "no value"},
        {"name": "", "value": 1},
        {"name": 1, "value": 1},
        {"name": "nul \x00", "value": 1},
        {"name": "x", "value": "nul \x00"},
        {"name": "x", "value": {"key \x00": 1}},
    ],
)
async def test_one_bad_item_and_none_is_stored(
    client: httpx.AsyncClient, observer: Connection, bad: dict[str, Any]
) -> None:
    answer = await client.post("/items/batch", json=[{"name": "good", "value": 1}, bad])
    assert answer.status_code == 422
    assert await observer.fetchval("SELECT count(*) FROM items") == 0


@pytest.mark.parametrize("body", ["[]", "{}", "[1]", '[{"name": "x", "value": 1e999}]'])
async def test_a_body_that_does_not_fit(client: httpx.AsyncClient, body: str) -> None:
    answer = await client.post(
        "/items/batch", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422


@pytest.mark.parametrize(("before", "after"), [("[", "]"), ('{"key": ', "}")])
@pytest.mark.parametrize("depth", [100, 252, 253, 254, 255, 256, 257, 900, 100_000])
async def test_what_is_nested_too_deeply_to_be_read_is_not_stored(
    client: httpx.AsyncClient, observer: Connection, before: str, after: str, depth: int
) -> None:
    body = f'[{{"name": "x", "value": {before * depth}1{after * depth}}}]'
    answer = await client.post(
        "/items/batch", content=body, headers={"Content-Type": "application/json"}
    )
    stored = await observer.fetchval("SELECT count(*) FROM items")
    if stored:
        assert (answer.status_code, depth < 256) == (200, True)
        assert (await client.get("/items/1")).status_code == 200
    else:
        assert (answer.status_code in {400, 422}, depth > 252) == (True, True)


@pytest.mark.parametrize("item_id", ["0", "one", str(2**63)])
async def test_an_id_that_cannot_be(client: httpx.AsyncClient, item_id: str) -> None:
    assert (await client.get(f"/items/{item_id}")).status_code == 422
