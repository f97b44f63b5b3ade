"""All SQL about users; each function works in the session it is given."""

# Goes with the examples.

from typing import ClassVar

from sqlalchemy import bindparam, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.databases import Reader
from app.errors import Problem
from app.users.models import User, users
from app.users.schemas import UserCreate, UserRead

USER = select(User.id, User.name, User.email).where(User.id == bindparam("user_id"))
NEW_USER = insert(users).returning(users.c.id, users.c.name, users.c.email)


class UserNotFound(Problem):
    status: ClassVar[int] = 404


class EmailTaken(Problem):
    status: ClassVar[int] = 409


async def get_user(reader: Reader, user_id: int) -> UserRead:
    """Raises UserNotFound."""
    user = await reader.first(USER, {"user_id": user_id})
    if user is None:
        raise UserNotFound("There is no such user.")
    return UserRead.model_validate(user)


async def create_user(session: AsyncSession, new: UserCreate) -> UserRead:
    """Raises EmailTaken, after which the session's transaction is of no use."""
    try:
        user = (await session.execute(NEW_USER, new.model_dump())).one()
    except IntegrityError as error:
        if getattr(error.orig, "sqlstate", None) == "23505":  # unique_violation
            raise EmailTaken("There is a user with this e-mail address already.") from error
        raise
    return UserRead.model_validate(user)


async def count_visit(session: AsyncSession, user_id: int) -> int:
    """Count a visit and return the number: right only in a transaction that is SERIALIZABLE.

    Raises UserNotFound, or Conflict when another visit is counted at the same time.
    """
    user = await session.scalar(select(User).where(User.id == user_id))
    if user is None:
        raise UserNotFound("There is no such user.")
    user.visits += 1
    await session.flush()
    return user.visits
