import os

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

settings.configure(
    SECRET_KEY="only for tests",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["localhost"],
    DATA_UPLOAD_MAX_MEMORY_SIZE=None,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware", "django.middleware.security.SecurityMiddleware"],
    LOGGING_CONFIG=None,
)
django.setup()


async def who(request):
    return JsonResponse({"pid": os.getpid(), "scheme": request.scheme, "client": "REMOTE_ADDR" in request.META})


@csrf_exempt
def echo(request):  # a view for threads
    return HttpResponse(request.body, content_type="application/octet-stream")


async def stream(request):
    async def pieces():
        for number in range(5):
            yield f"{number}\n"

    return StreamingHttpResponse(pieces(), content_type="text/plain")


async def failing(request):
    raise RuntimeError("asked for")


urlpatterns = [
    path("who", who),
    path("echo", echo),
    path("stream", stream),
    path("raise", failing),
]
app = get_asgi_application()
