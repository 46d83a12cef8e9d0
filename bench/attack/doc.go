// Command attack plays the threat table of SECURITY.md against a gateway of
// its own while 1,000 good clients chat, and looks whether they notice.
//
//	go run ./bench/attack                    every row: about 5 minutes
//	go run ./bench/attack -rows pings,crowd  some of them
//	go run ./bench/attack -list              what there is
//
// It builds the gateway and starts it as a process, on loopback, with the
// settings of production. One row after the other is then played for some
// seconds (rows.go). During a row the good clients (bench/load, a process of
// its own) type to each other in rooms of two, each event timed from when it
// was due; a load balancer asks for /health; and the gateway's memory,
// descriptors and loop age are watched. After it everything has to be as before;
// result.go has the bounds. Attacks are bounded by count, rate and time, and the
// gateway and the good clients are preferred by the scheduler: on one machine
// the attackers must not win by eating the processor.
//
// The report is a table on standard output and a Markdown file. The exit code is
// 1 when a row has broken a bound three times in a row, each time with a fresh
// gateway.
package main
