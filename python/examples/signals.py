"""signals.py: counts SIGUSR1, ticks once a second, and ends with SIGINT or SIGTERM or with the child that it started."""

import os
import signal
import subprocess
import sys
from typing import List, Optional

import weir


def main(command: List[str]) -> None:
    with weir.Context() as context:
        count = 0
        signals = weir.Signals(context, signal.SIGUSR1, signal.SIGINT, signal.SIGTERM)
        ticks = weir.Timer(context)
        handles: List[weir.Handle] = [signals, ticks]

        def end() -> None:
            for handle in handles:
                handle.close()

        def on_signal(error: Optional[OSError], number: int) -> None:
            nonlocal count
            if error is not None:
                return
            if number == signal.SIGUSR1:
                count += 1
                print("SIGUSR1 number", count, flush=True)
                signals.wait(on_signal)
            else:
                print("ended by", signal.Signals(number).name)
                end()

        def on_exit(error: Optional[OSError], status: int) -> None:
            if error is None:
                print("the child ended with", status)
                end()

        signals.wait(on_signal)
        ticks.start(1, 1, lambda error: print("tick", flush=True) if error is None else None)
        if command:
            child = subprocess.Popen(command)
            process = weir.Process(context, child.pid)
            process.wait(on_exit)
            handles.append(process)
        print("process", os.getpid(), flush=True)
        context.run()


if __name__ == "__main__":
    main(sys.argv[1:])
