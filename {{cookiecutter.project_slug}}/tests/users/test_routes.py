"""Read a user, create a user."""

# Goes with the examples.

import httpx
import pytest

ADA = {"name": "Ada Lovelace", "email": "ada@example.com"}


async def test_what_was_created_is_read(client: httpx.AsyncClient) -> None:
    created = await client.post("/users", json=ADA)
    assert created.status_code == 201
    assert created.json() == {"id": 1, **ADA}
    read = await client.get("/users/1")
    assert (read.status_code, read.json()) == (200, {"id": 1, **ADA})


async def test_a_user_that_is_not_there(client: httpx.AsyncClient) -> None:
    answer = await client.get("/users/1")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "There is no such user."


async def test_an_address_is_taken_once(client: httpx.AsyncClient) -> None:
    await client.post("/users", json=ADA)
    answer = await client.post("/users", json=ADA | {"name": "Another"})
    assert answer.status_code == 409
    assert answer.json()["detail"] == "There is a user with this e-mail address already."


@pytest.mark.parametrize("user_id", ["0", "-1", "one", str(2**63)])
async def test_an_id_that_cannot_be(client: httpx.AsyncClient, user_id: str) -> None:
    assert (await client.get(f"/users/{user_id}")).status_code == 422


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "x" * 201},
        {"name": "nul \x00"},
        {"name": None},
        {"email": "nobody"},
        {"email": "a@b@c"},
        {"email": "nul\x00@example.com"},
    ],
)
async def test_a_body_that_does_not_fit(
    client: httpx.AsyncClient, change: dict[str, str | None]
) -> None:
    answer = await client.post("/users", json=ADA | change)
    assert answer.status_code == 422
    assert [error["loc"] for error in answer.json()["errors"]] == [["body", next(iter(change))]]
