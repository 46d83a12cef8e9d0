// Package e2e holds tests only. They start the gateway as a process and drive
// it from outside:
//
//	js_test.go          the unmodified socket.io-client, scripts in js/
//	py_test.go          python3-socketio, script in py/
//	client_test.go      internal/sioclient
//	engine_test.go      Engine.IO, packet by packet
//	socket_test.go      Socket.IO, packet by packet
//	badinput_test.go    what no client would send: over HTTP,
//	badpackets_test.go  in frames and packets,
//	badmanners_test.go  in polls, and at the wrong time
//	compat_test.go      what clients other than socket.io-client send
//	stream_test.go      order and completeness while clients upgrade
//	edge_test.go        who may be in a room, limits, the admin port
//	console_test.go     the console, in Chromium; js/console.mjs
//	events_test.go      what services publish, through a RabbitMQ of its own
//	poison_test.go      and what nobody can make sense of
//	endpoints_test.go, lifecycle_test.go
//	proxy_test.go       through nginx and HAProxy, as deploy/ has them
//	doctor_test.go      what gateway doctor says of them, and of wrong ones
//	systemd_test.go     what a service manager is told
//	install_test.go     the Debian package as its service runs it: settings, reload
//	prometheus_test.go  a real Prometheus with the examples; versions
//	port_test.go        a port that is taken; a restart on the same one
//	handover_test.go    from one process to the next on the same port
//	deploy_test.go      the other files of deploy/, held to what there is
//	package_test.go     the Debian package
//
// With E2E_CLOCK=1 clients connect while the clock of the gateway is set.
//
// With E2E_REFERENCE=1 the same tests run against js/reference.mjs, the
// contract on Socket.IO's own server: what fails there is a wrong test.
package e2e
