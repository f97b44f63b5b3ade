"""Figures about the users."""

# Goes with the examples.

from fastapi import APIRouter

from app.analytics import queries
from app.analytics.reader import AnalyticsReader
from app.analytics.schemas import UserFigures

router = APIRouter(prefix="/analytics", tags=["analytics"])


@router.get("/users")
async def user_figures(reader: AnalyticsReader) -> UserFigures:
    return await queries.user_figures(reader)
