// Package crowd simulates many nodes of a cluster with one Redis that executes a
// limited number of commands a second. Package simulation has few nodes with
// everything, and a Redis that is never busy; here are the state machines of
// package core alone, with many rooms, and the time that commands wait in
// Redis. It has only tests.
//
//	nodes_test.go   the nodes and their connections
//	redis_test.go   the model of Redis with its queue of commands
//	crowd_test.go   what must hold when Redis is late
package crowd
