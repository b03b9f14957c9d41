"""The plain application in Starlette behind a middleware that is a BaseHTTPMiddleware."""
