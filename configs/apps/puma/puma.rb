# See ../puma.toml.
threads 4, 4
bind_to_activated_sockets 'only' # the sockets that gofork passes, whatever their addresses
raise_exception_on_sigterm false # exit code 0 after a graceful stop
quiet
