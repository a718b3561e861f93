"""A client that is nothing but a socket."""

import socket
from urllib.parse import urlsplit


class RawClient:
    """A socket that speaks HTTP as far as a test wants it to."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = parts.netloc
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        self.socket.settimeout(60)
        self.socket.connect((parts.hostname, parts.port))

    def send_request(
        self,
        body: str,
        *,
        length: int | None = None,
        path: str = "/v1/chat/completions",
        content_type: str = "application/json",
    ) -> None:
        """Ask for an answer; `length` is what the headers say of the body."""
        self.socket.sendall(
            f"POST {path} HTTP/1.1\r\nhost: {self.host}\r\n"
            f"content-type: {content_type}\r\ncontent-length: {length or len(body)}\r\n\r\n"
            f"{body}".encode()
        )

    def read_until(self, mark: bytes) -> bytes:
        """Read until something has come."""
        data = b""
        while mark not in data:
            got = self.socket.recv(65536)
            assert got, data
            data += got
        return data

    def close(self, *, reset: bool = False) -> None:
        """Leave, politely or not."""
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()
