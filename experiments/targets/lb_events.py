"""A load balancer on one event loop: python3 lb_events.py

It listens on port 44444 and sends each connection to the next of three servers. It copies bytes and knows no HTTP. The
classes are in the style of asyncore: an object per socket, with a method for each event.
"""

import selectors
import socket
from itertools import cycle

from answers import listener

PORT = 44444
SERVERS = cycle([("127.0.0.1", 8000), ("127.0.0.1", 8001), ("127.0.0.1", 8002)])

loop = selectors.DefaultSelector()


class Side:
    """One of the two sockets of a forwarded connection. `other` is the opposite side."""

    def __init__(self, sock):
        sock.setblocking(False)
        self.sock, self.other = sock, None
        self.waiting = b""  # bytes that this socket must still send
        self.last = False  # True when no more bytes will be added to `waiting`
        loop.register(sock, selectors.EVENT_READ, self)

    def handle(self, events):
        try:
            if events & selectors.EVENT_WRITE:
                self.handle_write()
            if events & selectors.EVENT_READ:
                self.handle_read()
        except BlockingIOError:
            pass
        except OSError:
            self.close_both()

    def handle_read(self):
        data = self.sock.recv(65536)
        if data:
            self.other.waiting += data
            self.other.update()
        elif self.other.waiting:
            # The other side gets the rest before both close.
            self.other.last = True
            loop.unregister(self.sock)
        else:
            self.close_both()

    def handle_write(self):
        self.waiting = self.waiting[self.sock.send(self.waiting) :]
        if self.last and not self.waiting:
            self.close_both()
        else:
            self.update()

    def update(self):
        """Asks the loop for write events only while bytes are waiting."""
        if self.is_registered():
            write = selectors.EVENT_WRITE if self.waiting else 0
            loop.modify(self.sock, selectors.EVENT_READ | write, self)

    def is_registered(self):
        return self.sock.fileno() >= 0 and self.sock in loop.get_map()

    def close_both(self):
        for side in (self, self.other):
            if side.is_registered():
                loop.unregister(side.sock)
            side.sock.close()


class Listener:
    def __init__(self):
        self.sock = listener(PORT)
        self.sock.setblocking(False)
        loop.register(self.sock, selectors.EVENT_READ, self)

    def handle(self, _events):
        client, _ = self.sock.accept()
        server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        server.setblocking(False)
        server.connect_ex(next(SERVERS))
        first, second = Side(client), Side(server)
        first.other, second.other = second, first


def main():
    Listener()
    while True:
        for key, events in loop.select():
            if key.data and key.fileobj.fileno() >= 0:
                key.data.handle(events)


if __name__ == "__main__":
    main()
