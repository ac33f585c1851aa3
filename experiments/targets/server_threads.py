"""A web server on a pool of threads: python3 server_threads.py [PORT]"""

import sys
from concurrent.futures import ThreadPoolExecutor

from answers import listener, serve

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 8000


def main():
    listening = listener(PORT)
    with ThreadPoolExecutor(20) as pool:
        while True:
            connection, _ = listening.accept()
            pool.submit(serve, connection)


if __name__ == "__main__":
    main()
