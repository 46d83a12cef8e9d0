// Package e2e has end-to-end tests only. They start the gateway as a process and
// drive it over the network:
//
//	js_test.go          the unmodified socket.io-client, scripts in js/
//	py_test.go          python3-socketio, scripts in py/
//	client_test.go      internal/sioclient
//	engine_test.go      Engine.IO, packet by packet
//	socket_test.go      Socket.IO, packet by packet
//	badinput_test.go    invalid input: HTTP requests,
//	badpackets_test.go  frames and packets,
//	badpolling_test.go  polling requests, and connections that end at a bad time
//	compat_test.go      packets of clients other than socket.io-client
//	stream_test.go      order and completeness while clients upgrade
//	edge_test.go        room policies, limits, the admin port
//	console_test.go     the console, in Chromium; js/console.mjs
//	events_test.go      events of services, published through RabbitMQ
//	poison_test.go      events that cannot be delivered, and dead letters
//	endpoints_test.go   /health, /ready, /metrics, CORS
//	lifecycle_test.go   heartbeats, restarts, shutdown
//	proxy_test.go       nginx and HAProxy, configured as in deploy/
//	doctor_test.go      gateway doctor with these proxies, and with wrong ones
//	systemd_test.go     notifications to the service manager
//	install_test.go     the Debian package as its service runs it: settings, reload
//	prometheus_test.go  a real Prometheus with the examples; versions
//	port_test.go        a port that is in use; a restart on the same one
//	handover_test.go    two processes on one port while the first one drains
//	succession_test.go, takeover_test.go, pause_test.go, counters_test.go
//	                    hand-over of live connections from process to process
//	deploy_test.go      the other files of deploy/
//	docs_test.go        the commands and programs in the docs
//	package_test.go     the Debian package
//
// With E2E_CLOCK=1 clients connect while the clock of the gateway is set.
//
// With E2E_REFERENCE=1 the same tests run against js/reference.mjs, the gateway's
// contract on Socket.IO's own server. A test that fails there is wrong.
package e2e
