"""The page at `/`, Swagger UI and ReDoc, with all their assets, so that they work without the internet."""

from pathlib import Path

import fastapi_offline
from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from app.api.security import page_policy
from app.config import MODEL_WEIGHTS

ASSETS = Path(fastapi_offline.__file__).parent / "static"
ASSETS_URL = "/docs-assets"
WEB = Path(__file__).parents[1] / "web"

SWAGGER_OPTIONS = """plugins: [() => ({ statePlugins: { oas3: { wrapActions: {
        setRequestContentType: (original, system) => (chosen) => {
            original(chosen);
            system.oas3Actions.setRequestBodyValue({ value: undefined, pathMethod: chosen.pathMethod });
        },
    } } } })],
    requestInterceptor: (request) => {
        if (request.body instanceof FormData) {
            const files = request.body.getAll("image").filter((one) => one instanceof File);
            request.body.delete("image");
            files.forEach((file) => request.body.append("image", file));
        }
        return request;
    },"""
"""Has Swagger UI forget a body when another content type is chosen, as it would show the files of a form as JSON; and
send no field of a form in which no file was chosen."""


def install(app: FastAPI) -> None:
    """Serve the pages, each with the policy that it needs."""
    app.mount(ASSETS_URL, StaticFiles(directory=ASSETS))
    app.mount("/web", StaticFiles(directory=WEB))
    app.mount("/samples", StaticFiles(directory=MODEL_WEIGHTS / "golden"))
    index = (WEB / "index.html").read_text(encoding="utf-8")

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(index, headers=page_policy(index, camera=True))

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "")
        page = get_swagger_ui_html(
            openapi_url=f"{root}{app.openapi_url}",
            title=app.title,
            swagger_js_url=f"{root}{ASSETS_URL}/swagger-ui-bundle.js",
            swagger_css_url=f"{root}{ASSETS_URL}/swagger-ui.css",
            swagger_favicon_url=f"{root}{ASSETS_URL}/favicon.png",
        )
        html = bytes(page.body).decode().replace("SwaggerUIBundle({", f"SwaggerUIBundle({{\n    {SWAGGER_OPTIONS}", 1)
        return HTMLResponse(html, headers=page_policy(html, inline_styles=True))

    @app.get("/redoc", include_in_schema=False)
    async def redoc(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "")
        page = get_redoc_html(
            openapi_url=f"{root}{app.openapi_url}",
            title=app.title,
            redoc_js_url=f"{root}{ASSETS_URL}/redoc.standalone.js",
            redoc_favicon_url=f"{root}{ASSETS_URL}/favicon.png",
            with_google_fonts=False,
        )
        page.headers.update(page_policy(bytes(page.body).decode(), inline_styles=True))
        return page
