"""What the queues do: see ../deploy.toml."""

import os
import time


def work(seconds):
    """Takes its time, and returns the pid of the queue that ran it."""
    time.sleep(seconds)
    return os.getppid()


def tick():
    """What the scheduler orders."""
    return os.environ["QUEUE_REVISION"]
