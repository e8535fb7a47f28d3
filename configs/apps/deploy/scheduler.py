"""Orders a job each INTERVAL seconds: see ../deploy.toml."""

import os
import signal
import threading

import jobs
from redis import Redis
from rq import Queue

stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())

redis = Redis.from_url(os.environ["REDIS_URL"])
queue = Queue("default", connection=redis)
while not stop.is_set():
    redis.set("last_tick", queue.enqueue(jobs.tick, result_ttl=60).id)
    stop.wait(float(os.environ["INTERVAL"]))
