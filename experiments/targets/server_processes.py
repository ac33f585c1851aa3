"""A web server on a pool of processes: python3 server_processes.py [PORT]

Each accepted connection travels to a process of the pool as a file descriptor.
"""

import sys
from concurrent.futures import ProcessPoolExecutor

from answers import listener, serve

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 8000


def main():
    listening = listener(PORT)
    with ProcessPoolExecutor(8) as pool:
        while True:
            connection, _ = listening.accept()
            done = pool.submit(serve, connection)
            # The pool's process has its own copy. Ours must live until then, or the copy would fail.
            done.add_done_callback(lambda _, kept=connection: kept.close())


if __name__ == "__main__":
    main()
