"""The page that Prometheus reads."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.monitoring import workers

router = APIRouter(tags=["monitoring"])


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    text = generate_latest(await workers.figures(request.app.state.registry))
    return Response(text, media_type=CONTENT_TYPE_LATEST)
