// Package freeport finds ports for servers that tests and benchmarks start,
// kill and start again.
package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// From first up to last, and 10,000 above, are ports that Linux gives to no
// outgoing connection (ip_local_port_range begins at 32,768): one of these on
// the port of a server that has been killed would keep it from coming back.
const (
	first = 10_000
	last  = 22_000
	bus   = 10_000 // above the port of a Redis is where Redis Cluster listens
)

var given = struct {
	mu    sync.Mutex // guards the following
	ports map[int]bool
}{ports: make(map[int]bool)}

// Find returns a port of 127.0.0.1 that nobody listens on, nor on the one
// 10,000 above, and that it has not returned before.
func Find() (int, error) {
	given.mu.Lock()
	defer given.mu.Unlock()
	for range 1000 {
		port := first + rand.IntN(last-first)
		if !given.ports[port] && free(port) && free(port+bus) {
			given.ports[port] = true
			return port, nil
		}
	}
	return 0, fmt.Errorf("1000 ports tried between %d and %d, none is free", first, last)
}

func free(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err == nil {
		l.Close()
	}
	return err == nil
}
