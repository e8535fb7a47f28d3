# A Rack application without a framework: see ../puma.toml.
run lambda { |env|
  answer =
    case env['PATH_INFO']
    when '/echo'
      env['rack.input'].read
    when '/sleep'
      sleep [env['QUERY_STRING'][/ms=(\d+)/, 1].to_f / 1000, 60].min
      'slept'
    else
      Process.pid.to_s
    end
  [200, { 'Content-Type' => 'text/plain', 'Content-Length' => answer.bytesize.to_s }, [answer]]
}
