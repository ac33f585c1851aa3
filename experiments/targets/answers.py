"""HTTP/1.0 answers of the two small web servers: one file per connection, then the connection closes."""

import os
from datetime import datetime, timezone

TYPES = {".html": "text/html", ".css": "text/css", ".svg": "image/svg+xml", ".txt": "text/plain"}


def answer(status, body=b"", kind="text/plain"):
    date = datetime.now(timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
    head = (
        f"HTTP/1.0 {status}\r\nDate: {date}\r\nServer: small/1.0\r\nConnection: close\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def respond(request):
    """Returns the whole response to the bytes of a request. Files come from the current directory."""
    words = request.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    if len(words) != 3:
        return answer("400 Bad Request")
    method, target, _ = words
    if method not in ("GET", "HEAD"):
        return answer("501 Not Implemented")
    root = os.path.realpath(".")
    path = os.path.realpath(os.path.join(root, target.split("?")[0].lstrip("/") or "index.html"))
    if not path.startswith(root + os.sep) or not os.path.isfile(path):
        return answer("404 Not Found", b"no such file\n")
    with open(path, "rb") as file:
        body = file.read()
    response = answer("200 OK", body, TYPES.get(os.path.splitext(path)[1], "application/octet-stream"))
    return response[: len(response) - len(body)] if method == "HEAD" else response


def serve(connection):
    """Reads one request head, answers it, and closes the connection."""
    try:
        connection.settimeout(30)
        request = b""
        while b"\r\n\r\n" not in request and len(request) < 16384:
            part = connection.recv(4096)
            if not part:
                return
            request += part
        connection.sendall(respond(request))
    except OSError:
        pass
    finally:
        connection.close()


def listener(port):
    """Listens on a port of this machine."""
    import socket

    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen(1024)
    return listening
