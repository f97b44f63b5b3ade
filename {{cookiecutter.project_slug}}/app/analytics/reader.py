"""A reader of the analytics database, and the time that its requests have."""

from typing import Annotated

from fastapi import Depends, Request

from app.databases import BaseReader


class _AnalyticsReader(BaseReader):
    """For figures: no other reader will do, and this one will do for nothing else."""


async def analytics_reader(request: Request) -> _AnalyticsReader:
    request.state.deadline.extend(request.app.state.settings.analytics.deadline)
    return _AnalyticsReader(request.state.analyst, request.app.state.retry, after=None)


AnalyticsReader = Annotated[_AnalyticsReader, Depends(analytics_reader)]
