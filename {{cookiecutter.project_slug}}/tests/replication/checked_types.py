"""What only reads cannot write: a type error, which `make check` finds.

mypy refuses an `ignore` that has nothing to ignore, so each is an error that has to be there.
"""

# Goes with the examples.

from sqlalchemy import insert, select

from app.analytics.queries import user_figures
from app.analytics.reader import AnalyticsReader
from app.databases import Reader, UnitOfWork, Writer
from app.users.models import User
from app.users.queries import create_user, get_user
from app.users.schemas import UserCreate, UserRead

new = UserCreate(name="x", email="x@example.com")


async def run(writer: Writer) -> UserRead:
    return await writer.run(lambda session: create_user(session, new))


async def right(
    reader: Reader, writer: Writer, session: UnitOfWork, analytics: AnalyticsReader
) -> None:
    await get_user(reader, 1)
    await reader.all(select(User.id))
    await run(writer)
    await create_user(session, new)
    session.add(User())
    await user_figures(analytics)


async def wrong(reader: Reader, writer: Writer, analytics: AnalyticsReader) -> None:
    await reader.run(lambda session: create_user(session, new))  # type: ignore[attr-defined]
    reader.add(User())  # type: ignore[attr-defined]
    await reader.delete(User())  # type: ignore[attr-defined]
    await reader.execute(insert(User))  # type: ignore[attr-defined]
    await reader.commit()  # type: ignore[attr-defined]
    await reader.all(insert(User).returning(User.id))  # type: ignore[arg-type]
    await run(reader)  # type: ignore[arg-type]
    await create_user(reader, new)  # type: ignore[arg-type]
    await create_user(analytics, new)  # type: ignore[arg-type]
    await run(analytics)  # type: ignore[arg-type]
    await user_figures(reader)  # type: ignore[arg-type]
    await get_user(analytics, 1)  # type: ignore[arg-type]
    await get_user(writer, 1)  # type: ignore[arg-type]
