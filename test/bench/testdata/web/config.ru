# The smallest Rack application. It says when it was loaded, and by whom.
File.write("loaded/#{Process.pid}", '')

run ->(_env) { [200, { 'Content-Type' => 'text/plain', 'Content-Length' => '3' }, ["ok\n"]] }
