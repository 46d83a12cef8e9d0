// Package crowd tests 56 nodes of a cluster with one Redis that executes a
// limited number of commands a second. Package simulation has at most five nodes
// with all their parts, and a Redis that is never busy. This package has only the
// state machines of package core, but with thousands of rooms, and simulates the
// time for which commands wait in Redis. It has only tests.
//
//	nodes_test.go   the nodes and their connections
//	redis_test.go   the model of Redis with its queue of commands
//	crowd_test.go   what must hold when Redis is slow or stopped
package crowd
