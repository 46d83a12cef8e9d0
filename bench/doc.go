// Command bench measures the gateway process beside comparable servers, the peers.
//
//	go run ./bench                          every scenario, every peer: about 5 minutes
//	go run ./bench -scenario fanout,chat    some of them
//	go run ./bench -peers floor,gateway
//	go run ./bench -list                    what there is
//
// Each flag can be set by an environment variable of its name in capitals
// (SCENARIO, PEERS, RUNS, …). A run writes bench/results/<date>/: report.md,
// plots, results.json and machine.json. The exit code is 1 when any client
// got less, more, or in another order than it should.
//
// The suite starts each server anew for each scenario and run, on one core,
// and the load generator on the other. bench/README.md says how to read the
// figures.
package main
