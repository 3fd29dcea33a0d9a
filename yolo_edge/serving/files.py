"""What a page consists of, served from memory."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route


def read_files(folder: Path, names: Mapping[str, tuple[str, str]]) -> dict[str, tuple[bytes, str]]:
    """Path in the address → name in the folder and media type, with the bytes instead of the name."""
    return {path: ((folder / name).read_bytes(), kind) for path, (name, kind) in names.items()}


def application(files: Mapping[str, tuple[bytes, str]], routes: Iterable[BaseRoute]) -> Starlette:
    """Serves files, as `read_files` gives them, and what else a page asks for."""

    async def answer(request: Request) -> Response:
        data, kind = files[request.url.path]
        return Response(data, media_type=kind)

    app = Starlette(routes=[*(Route(path, answer, methods=["GET"]) for path in files), *routes])
    app.router.redirect_slashes = False
    return app
