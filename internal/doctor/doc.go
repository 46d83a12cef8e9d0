// Package doctor looks at what a gateway depends on before there is trouble:
// the host, Redis, RabbitMQ, the settings, and the way from the public address
// through the proxies.
//
//	finding.go   what a check comes to
//	host.go      descriptors, queues, ports, memory of sockets, conntrack
//	memory.go    what the process may use, and what connections need
//	settings.go  secrets, origins, tokens
//	services.go  RabbitMQ, the services, clocks
//	redis.go     Redis
//	proxy.go     the way in, tried as a client would
//	engine.go    as much of a client as that takes
//
// Checks change nothing that lasts. Each says what it found, what that should
// be, and the one thing to do.
package doctor
