// Command floor is the least a server can do for the gateway's contract: the
// limit of the machine, which the peers and the gateway are compared with.
//
// One thread sits in epoll_wait and answers, over WebSocket and over long-polling
// until the upgrade. There is no JWT check, no JSON parser, no backpressure policy
// beyond a bound, no end for a session that has gone silent, no garbage collection
// and no goroutine but the first. A delivery is one write(2) of bytes prepared once
// per event. With -batch the bytes are kept per socket instead and written
// once per turn of the loop, which is what coalescing can gain.
//
// With USE_REDIS it passes what clients say on to other servers: one PUBLISH for
// each event and server that holds the room, on a connection of its own
// (bus.go).
//
// It is written in Go rather than C so that the suite needs one compiler only.
// System calls go through RawSyscall, which the runtime does not see, so the
// difference to C is a few nanoseconds beside the microseconds of a write.
package main
