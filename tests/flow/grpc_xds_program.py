"""Run by test_grpc_xds_client: reads a number of calls per line, writes the counted answers as one JSON line."""

import json
import sys
from collections import Counter

import grpc


def main(target: str) -> None:
    with grpc.insecure_channel(target) as channel:
        say = channel.unary_unary("/echo.Echo/Say")
        for line in sys.stdin:
            answers: Counter[str] = Counter()
            for _ in range(int(line)):
                try:
                    answers[say(b"", timeout=30).decode()] += 1
                except grpc.RpcError as error:
                    answers[error.code().name] += 1
            print(json.dumps(answers), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
