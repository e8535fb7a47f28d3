# See ../puma.toml.
threads 4, 4
bind_to_activated_sockets 'only' # the sockets that gofork passes, whatever their addresses
raise_exception_on_sigterm false # exit code 0 after a graceful stop

# Each connection ends after its answer. With the queue, which is the default, puma
# keeps connections, closes them without a word when it stops, and now and then
# does not end before gofork's graceful_timeout. Without it a slow client occupies
# a thread, so there should be a proxy in front.
queue_requests false

quiet
