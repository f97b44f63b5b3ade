"""What goes in and out."""

# Goes with the examples.

from typing import Annotated

from pydantic import BaseModel, JsonValue, StringConstraints

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class ItemCreate(BaseModel):
    name: Name
    value: JsonValue


class ItemRead(BaseModel):
    id: int
    name: str
    value: JsonValue
