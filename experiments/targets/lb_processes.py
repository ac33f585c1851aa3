"""A load balancer with one process per connection: python3 lb_processes.py

It listens on port 44444 and sends each connection to the next of three servers. It copies bytes and knows no HTTP.
"""

import os
import select
import signal
import socket
from itertools import cycle

from answers import listener

PORT = 44444
SERVERS = cycle([("127.0.0.1", 8000), ("127.0.0.1", 8001), ("127.0.0.1", 8002)])


def forward(client, address):
    """Copies bytes in both directions until the server has sent everything, or the client has gone."""
    with socket.create_connection(address) as server:
        while True:
            ready, _, _ = select.select([client, server], [], [])
            for source in ready:
                data = source.recv(65536)
                if not data:
                    return
                (server if source is client else client).sendall(data)


def main():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel removes ended children
    listening = listener(PORT)
    while True:
        client, _ = listening.accept()
        address = next(SERVERS)
        if os.fork() == 0:
            listening.close()
            try:
                forward(client, address)
            except OSError:
                pass
            os._exit(0)
        client.close()


if __name__ == "__main__":
    main()
