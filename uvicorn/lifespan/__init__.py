"""Import paths that other packages know; the code is in uvicorn.server."""
