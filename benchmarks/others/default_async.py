"""As full-stack templates with an async engine have it: all defaults, a commit after `yield`."""

import os
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from users import User, UserCreate, UserRead

URL = os.environ["DATABASE_URL"]
engine = create_async_engine(
    URL.replace("postgresql://", "postgresql+asyncpg://").replace("?sslmode=", "?ssl=")
)
sessions = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()


async def get_session() -> AsyncIterator[AsyncSession]:
    async with sessions() as session:
        yield session
        await session.commit()


Session = Annotated[AsyncSession, Depends(get_session)]


@app.get("/users/{user_id}", response_model=UserRead)
async def read_user(user_id: int, session: Session) -> Any:
    user = await session.get(User, user_id)
    if user is None:
        raise HTTPException(404)
    return user


@app.post("/users", response_model=UserRead, status_code=201)
async def create_user(new: UserCreate, session: Session) -> Any:
    user = User(**new.model_dump())
    session.add(user)
    await session.flush()
    return user
