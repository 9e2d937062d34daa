"""echo_server.py [PORT]: sends back what comes, until SIGINT or SIGTERM."""

import signal
import socket
import sys
from typing import Optional

import weir


class Connection:
    def __init__(self, stream: weir.Stream) -> None:
        self.stream = stream
        stream.set(weir.OPT_NO_DELAY, 1)
        stream.set_timeout(read=60)
        stream.read_some(65536, self.on_data)

    def on_data(self, error: Optional[OSError], data: bytes) -> None:
        if error is not None or not data:
            self.stream.close()
        else:
            # Reading goes on when this is written, so that a peer that does not read can't fill our memory.
            self.stream.write(data, self.on_written)

    def on_written(self, error: Optional[OSError], count: int) -> None:
        if error is not None:
            self.stream.close()
        else:
            self.stream.read_some(65536, self.on_data)


def main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    with weir.Context() as context:
        acceptor = weir.Acceptor(context)
        acceptor.open(socket.AF_INET)
        acceptor.set(weir.OPT_REUSE_ADDRESS, 1)
        acceptor.bind(("127.0.0.1", port))
        acceptor.listen()
        acceptor.accept_each(lambda error, peer: Connection(peer) if peer is not None else None)
        signals = weir.Signals(context, signal.SIGINT, signal.SIGTERM)
        signals.wait(lambda error, number: context.stop())
        print("listening on", acceptor.local_address, flush=True)
        context.run()
        print("stopped")


if __name__ == "__main__":
    main()
