"""udp.py [COUNT]: a UDP server and a client in one program; the client tells the round trips."""

import sys
import time
from typing import Optional

import weir


def main() -> None:
    left = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with weir.Context() as context:
        server = weir.Datagram(context)
        server.bind(("127.0.0.1", 0))

        def serve(error: Optional[OSError], data: bytes, sender: weir.Address) -> None:
            if error is None:
                # Several may come at once, and a socket has one sending operation at a time; this one is none.
                server.try_send_to(data, sender)

        server.receive_each(serve)

        client = weir.Datagram(context)
        client.connect(server.local_address)
        # Datagrams may get lost: what is not answered is sent again.
        again = weir.Timer(context)
        again.start(0.5, 0.5, lambda error: send() if error is None else None)

        def send() -> None:
            client.try_send(b"%d" % left)

        def answered(error: Optional[OSError], data: bytes) -> None:
            nonlocal left
            if error is not None:
                return
            if data == b"%d" % left:
                left -= 1
                if left == 0:
                    for handle in (server, client, again):
                        handle.close()
                    return
                send()
            client.receive(100, answered)

        began, count = time.perf_counter(), left
        client.receive(100, answered)
        send()
        context.run()
        print(f"{count} round trips, {(time.perf_counter() - began) / count * 1e6:.0f} us each")


if __name__ == "__main__":
    main()
