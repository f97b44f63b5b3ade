"""Read a user, create a user, count a visit."""

# Goes with the examples.

from typing import Annotated

from fastapi import APIRouter, Path

from app.databases import Reader, UnitOfWork, Writer
from app.users import queries
from app.users.schemas import UserCreate, UserRead, Visits

router = APIRouter(prefix="/users", tags=["users"])

UserId = Annotated[int, Path(ge=1, le=2**63 - 1)]


@router.get("/{user_id}")
async def read_user(user_id: UserId, reader: Reader) -> UserRead:
    return await queries.get_user(reader, user_id)


@router.post("", status_code=201)
async def create_user(new: UserCreate, session: UnitOfWork) -> UserRead:
    """The user is stored when the answer arrives."""
    return await queries.create_user(session, new)


@router.post("/{user_id}/visits")
async def count_visit(user_id: UserId, writer: Writer) -> Visits:
    """Visits at the same time are all counted: a transaction that meets another is run again."""
    visits = await writer.run(
        lambda session: queries.count_visit(session, user_id), isolation="SERIALIZABLE"
    )
    return Visits(visits=visits)
