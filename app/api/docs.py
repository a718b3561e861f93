"""`/docs`, and `/` that leads there.

Every address in them is relative: it holds under whatever path a proxy serves the gateway, and
nothing that a `Host` header says gets into a page or a redirect.
"""

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse

_PARAMETERS = {
    "tryItOutEnabled": True,
    "persistAuthorization": True,
    "filter": True,
    "displayRequestDuration": True,
}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def redirect_to_docs() -> RedirectResponse:
    """Lead to the documentation."""
    return RedirectResponse("docs")


@router.get("/docs")
async def docs() -> HTMLResponse:
    """Show the OpenAPI document in Swagger UI, which is installed with the gateway."""
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title="Steelyard",
        swagger_js_url="swagger/swagger-ui-bundle.js",
        swagger_css_url="swagger/swagger-ui.css",
        swagger_favicon_url="swagger/favicon-32x32.png",
        swagger_ui_parameters=_PARAMETERS,
    )
