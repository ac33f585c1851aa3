#!/usr/bin/env python3
"""Compares the CPU time of a request in two balancers that run at the same time, over the same backends.

What disturbs one balancer then disturbs the other, so the ratio is known more exactly than from runs one after the other. The
requests per second of the two depend on each other, because they share the CPUs.

usage: python3 experiments/together.py "target/release/neraca balance --engine thread" "target/release/neraca balance --engine async"
Each command gets --listen and three --backend arguments, and its load from a wrk with one thread. The ratio is second / first:
the geometric mean over the rounds, with the 95 % interval of Student's t on the logarithms.
"""
import argparse
import math
import pathlib
import re
import shlex
import statistics
import subprocess
import tempfile
import time

# The 97.5 % point of Student's t by degrees of freedom; between them the next lower one counts, so no interval is too narrow.
STUDENT = {1: 12.71, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 7: 2.365, 9: 2.262, 14: 2.145, 19: 2.093, 24: 2.064, 39: 2.023, 99: 1.984}


def start(words, addresses):
    """Starts a program. Returns it and the addresses that it prints."""
    program = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    found = []
    while len(found) < addresses:
        line = program.stdout.readline()
        if not line:
            raise SystemExit(f"together.py: '{words[0]}' ended with code {program.wait()}")
        found += re.findall(r"^listening on http://(\S+)", line)
    return program, found


def stop(programs):
    for program in programs:
        program.terminate()
    for program in programs:
        program.communicate()


def cpu_us(program, apart):
    """Returns the CPU time of the threads that run now: of all others, and of those with this name."""
    spent = [0.0, 0.0]
    for task in pathlib.Path(f"/proc/{program.pid}/task").iterdir():
        is_apart = (task / "comm").read_text().strip() == apart
        spent[is_apart] += int((task / "schedstat").read_text().split()[0]) / 1e3
    return spent


def load(options, addresses, seconds):
    """Loads all addresses at the same time. Returns the requests that each has answered."""
    close = ["-H", "Connection: close"] if options.close else []
    wrk = ["wrk", "-t", "1", "-c", str(options.connections), "-d", f"{seconds}s", *close]
    urls = [f"http://{address}/{options.body_bytes}" for address in addresses]
    clients = [subprocess.Popen([*wrk, url], stdout=subprocess.PIPE, text=True) for url in urls]
    reports = [client.communicate()[0] for client in clients]
    for report in reports:
        if "Socket errors" in report or "Non-2xx" in report:
            raise SystemExit(f"together.py: requests failed\n{report}")
    return [int(re.search(r"(\d+) requests in", report)[1]) for report in reports]


def measure(options, backends, number):
    """Measures both in one round. Returns the CPU time of a request in two parts (cpu_us), and the number of requests, of each."""
    order = [0, 1] if number % 2 else [1, 0]
    running = {}
    try:
        for place in order:
            arguments = [word for backend in backends for word in ("--backend", backend)]
            words = [*shlex.split(options.commands[place]), "--listen", "127.0.0.1:0", *arguments]
            running[place] = start(words, 1)
        (first, [first_address]), (second, [second_address]) = running[0], running[1]
        programs, addresses = [first, second], [first_address, second_address]
        load(options, addresses, 1)
        before = [cpu_us(program, options.apart) for program in programs]
        requests = load(options, addresses, options.seconds)
        time.sleep(0.05)
        after = [cpu_us(program, options.apart) for program in programs]
    finally:
        stop([program for program, _ in running.values()])
    spent = [[late - early for early, late in zip(*times)] for times in zip(before, after)]
    return [[part / count for part in parts] for parts, count in zip(spent, requests)], requests


def ratio(pairs):
    logs = [math.log(second / first) for first, second in pairs]
    freedom = max(known for known in STUDENT if known < len(logs))
    half = STUDENT[freedom] * statistics.stdev(logs) / math.sqrt(len(logs))
    low, middle, high = (math.exp(statistics.mean(logs) + shift) for shift in (-half, 0, half))
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commands", nargs=2, metavar="COMMAND")
    parser.add_argument("-c", "--connections", type=int, default=100, help="connections of each wrk [100]")
    parser.add_argument("--body-bytes", type=int, default=128, help="size of the response body [128]")
    parser.add_argument("--close", action="store_true", help="a connection per request")
    parser.add_argument("--rounds", type=int, default=25, help="rounds, each with new processes; at least 2 [25]")
    parser.add_argument("--seconds", type=int, default=2, help="measured seconds of a round, after one of warm-up [2]")
    parser.add_argument("--apart", metavar="THREAD", help="tell also how much the threads with this name need, and the others")
    parser.add_argument("--neraca", default="target/release/neraca", help="program of the backends")
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error("--rounds must be at least 2")
    with tempfile.TemporaryDirectory() as root:
        (pathlib.Path(root) / str(options.body_bytes)).write_bytes(b"x" * options.body_bytes)
        listen = ["--listen", "127.0.0.1:0"] * 3
        server, backends = start([options.neraca, "serve", "--engine", "async", "--root", root, *listen], 3)
        try:
            rounds = [measure(options, backends, number) for number in range(options.rounds)]
        finally:
            stop([server])
    totals = [[sum(parts) for parts in times] for times, _ in rounds]
    cpu = statistics.median(first for first, _ in totals)
    print(f"CPU time per request {ratio(totals)}, first {cpu:.1f} us; "
          f"requests {ratio([requests for _, requests in rounds])}; {len(rounds)} rounds, nothing failed")
    if options.apart:
        others = ratio([[parts[0] for parts in times] for times, _ in rounds])
        shares = [statistics.median(times[place][1] / total[0] for (times, _), total in zip(rounds, totals)) for place in (0, 1)]
        print(f"without the threads {options.apart} {others}; these need {shares[0]:.3f} and {shares[1]:.3f} of the first's time")


if __name__ == "__main__":
    main()
