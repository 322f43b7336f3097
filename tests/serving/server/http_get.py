"""A GET without a proxy, as probes and scrapers send it."""

import ssl
import urllib.error
import urllib.request


def get(url: str, context: ssl.SSLContext | None = None) -> tuple[int, str]:
    """Status and text, also of refusals."""
    handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)]
    try:
        with urllib.request.build_opener(*handlers).open(url, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
