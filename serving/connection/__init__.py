"""A client's connection before and around a request: the only room that touches the inside of uvicorn and httptools."""
