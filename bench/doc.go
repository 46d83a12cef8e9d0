// Command bench measures the gateway process beside comparable servers, the peers.
//
//	go run ./bench                          every scenario, every peer: about 5 minutes
//	go run ./bench -scenario fanout,chat    some of them
//	go run ./bench -peers floor,gateway
//	go run ./bench -list                    what there is
//
// Each flag can be set by an environment variable of its name in capitals
// (SCENARIO, PEERS, RUNS, …). A run writes bench/results/<date>/: report.md,
// plots, results.json and machine.json. The exit code is 1 if a client received
// fewer or more events than it should, or received them in another order.
//
// For each scenario and run the suite starts each server again, bound to one core,
// and the load generator on the other core. bench/README.md explains the figures.
package main
