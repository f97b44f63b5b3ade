"""As full-stack templates with a synchronous engine have it: psycopg, in a pool of threads."""

import os
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from users import User, UserCreate, UserRead

URL = os.environ["DATABASE_URL"]
engine = create_engine(URL.replace("postgresql://", "postgresql+psycopg://"))
app = FastAPI()


def get_session() -> Iterator[Session]:
    with Session(engine) as session:
        yield session


OpenSession = Annotated[Session, Depends(get_session)]


@app.get("/users/{user_id}", response_model=UserRead)
def read_user(user_id: int, session: OpenSession) -> Any:
    user = session.get(User, user_id)
    if user is None:
        raise HTTPException(404)
    return user


@app.post("/users", response_model=UserRead, status_code=201)
def create_user(new: UserCreate, session: OpenSession) -> Any:
    user = User(**new.model_dump())
    session.add(user)
    session.commit()
    session.refresh(user)
    return user
