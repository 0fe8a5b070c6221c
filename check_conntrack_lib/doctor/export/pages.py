"""What the exporter answers, as a WSGI application: the metrics, /-/healthy, and a page with a link."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from ... import __version__

#: a WSGI application (PEP 3333)
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
_TEXT = [('Content-Type', 'text/plain; charset=utf-8')]
_HTML = [('Content-Type', 'text/html; charset=utf-8')]
_INDEX = f"""<!DOCTYPE html>
<html lang="en"><head><title>conntrack-doctor</title></head>
<body><h1>conntrack-doctor {__version__}</h1><p><a href="metrics">Metrics</a></p></body></html>
""".encode()


class Unavailable(Exception):
    """The metrics cannot be had at the moment."""


def application(metrics: Callable[[str, str], tuple[list[tuple[str, str]], bytes]]) -> Application:
    """metrics: headers and body of /metrics for a request's Accept and Accept-Encoding; may raise Unavailable."""

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        status, headers, body = _answer(environ, metrics)
        start(f'{status.value} {status.phrase}', [*headers, ('Content-Length', str(len(body)))])
        return [] if environ['REQUEST_METHOD'] == 'HEAD' else [body]

    return answer


def _answer(environ: dict[str, Any], metrics: Callable[[str, str], tuple[list[tuple[str, str]], bytes]],
            ) -> tuple[HTTPStatus, list[tuple[str, str]], bytes]:
    path = environ['PATH_INFO']
    if environ['REQUEST_METHOD'] not in ('GET', 'HEAD'):
        return HTTPStatus.METHOD_NOT_ALLOWED, [*_TEXT, ('Allow', 'GET, HEAD')], b'only GET and HEAD\n'
    if path == '/metrics':
        try:
            return HTTPStatus.OK, *metrics(environ.get('HTTP_ACCEPT', ''), environ.get('HTTP_ACCEPT_ENCODING', ''))
        except Unavailable as error:
            return HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, f'{error}\n'.encode('utf-8', 'replace')
    if path == '/-/healthy':
        return HTTPStatus.OK, _TEXT, b'conntrack-doctor is running\n'
    if path == '/':
        return HTTPStatus.OK, _HTML, _INDEX
    return HTTPStatus.NOT_FOUND, _TEXT, b'the metrics are at /metrics\n'
