// Command attack carries out the threats of SECURITY.md against a gateway while
// 1,000 good clients chat, and checks that the good clients are not affected.
//
//	go run ./bench/attack                    every row: about 5 minutes
//	go run ./bench/attack -rows pings,crowd  some of them
//	go run ./bench/attack -list              what there is
//
// It builds the gateway and starts it as a process on loopback, with production
// settings. The rows of the threat table (rows_*.go) run one after the other, for
// some seconds each. During a row:
//
//   - the good clients (bench/load, a process of its own) send typing events to each
//     other in rooms of two; each event's latency counts from when it was due;
//   - a load balancer's health check is sent to /health;
//   - the gateway's memory, descriptors and the age of its turns are sampled.
//
// After a row the gateway must use what it used before; result.go has the bounds.
// Attacks are bounded by count, rate and time. The gateway and the good clients
// have a higher scheduling priority than the attackers, because all share one
// machine and the attackers must not win by using up the processor.
//
//	run.go        one execution: gateways, good clients, the order of the rows
//	attack.go     one row while it runs: rates, counters, connections
//	attacker.go   one connection of an attacker
//	rows_*.go     the rows
//	watch.go      the samples during a row; result.go, the bounds; report.go
//
// The report is a table on standard output and a Markdown file. The exit code is
// 1 if a row broke a bound in three attempts, each with a fresh gateway.
package main
