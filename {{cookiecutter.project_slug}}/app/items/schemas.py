"""What goes in and out."""

# Goes with the examples.

from typing import Annotated

from pydantic import BaseModel, JsonValue, SkipValidation, StringConstraints

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class ItemCreate(BaseModel):
    name: Name
    # Whatever a body in JSON holds is a JSON value; a second look takes long for a thousand.
    value: SkipValidation[JsonValue]


class ItemRead(BaseModel):
    id: int
    name: str
    value: JsonValue
