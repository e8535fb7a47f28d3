"""Takes orders for the queues and says how they are: see ../deploy.toml.

/enqueue/SECONDS  a job of that length in the queue "long"; its id
/job/ID           "queued", "started", or "finished RESULT"
/tick             the same of the scheduler's last job
/pid
"""

import os

import jobs
from redis import Redis
from rq import Queue
from rq.job import Job, JobStatus

redis = Redis.from_url(os.environ["REDIS_URL"])


def describe(job_id):
    job = Job.fetch(job_id, connection=redis)
    status = JobStatus(job.get_status()).value
    return f"{status} {job.result}" if status == "finished" else status


def app(environ, start_response):
    match environ["PATH_INFO"].split("/")[1:]:
        case ["enqueue", seconds]:
            answer = Queue("long", connection=redis).enqueue(jobs.work, float(seconds)).id
        case ["job", job_id]:
            answer = describe(job_id)
        case ["tick"]:
            answer = describe(redis.get("last_tick").decode())
        case _:
            answer = str(os.getpid())
    body = answer.encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
