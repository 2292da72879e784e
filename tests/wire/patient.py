"""The application, in a server whose stop gives those who have connected longer than the second of the product.

A test that sends its request after a stop must not depend on how fast it is.
"""

from app import app  # type: ignore[import-not-found]  # noqa: F401  # from this folder, where the server is started

import uvicorn.server.ending

uvicorn.server.ending._FRESH_GRACE = 5.0
