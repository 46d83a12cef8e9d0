package main

import (
	"time"

	"github.com/hometrip/gateway/bench/report"
)

// coalescing is the floor that tells nothing new where single writes are measured.
var coalescing = []string{report.FloorBatch}

// scenarios are in the order of a run and of the report.
var scenarios = []*scenario{
	{
		name: "connect", about: "authenticated connections, WebSocket alone; then what they cost idle, and their heartbeat",
		usual: 5 * time.Second, without: coalescing, run: connectScenario,
	},
	{
		name: "loops", about: "a gateway without clients, with 1 to 32 event loops",
		needs: canJSON, usual: 40 * time.Second, once: true, run: loopsScenario,
	},
	{
		name: "processors", about: "a room of 1,000 at a gateway with 1, 2 … processors of the Go runtime and event loops",
		needs: canJSON, usual: 9 * time.Second, run: processorsScenario,
	},
	{
		name: "polling", about: "long-polling first, then the upgrade to WebSocket",
		needs: canPoll, usual: 2 * time.Second, without: coalescing, run: pollingScenario,
	},
	{
		name: "fanout", about: "one event to a room of 10 to 19,000: single, in bursts, paced",
		needs: canPublish, usual: 7 * time.Second, run: fanoutScenario,
	},
	{
		name: "storm", about: "1,000 members join one room and type in it",
		usual: 3 * time.Second, run: stormScenario,
	},
	{
		name: "chat", about: "1,000 rooms of two, typing both ways",
		usual: 4 * time.Second, run: chatScenario,
	},
	{
		name: "churn", about: "clients that connect and go",
		once: true, usual: 4 * time.Second, without: append([]string{"bun", "zishang", "centrifuge"}, coalescing...), run: churnScenario,
	},
	{
		name: "slow", about: "50 readers that stopped beside 50 that read",
		needs: canPublish, once: true, usual: 6 * time.Second, without: append([]string{"zishang"}, coalescing...), run: slowScenario,
	},
	{
		name: "amqp", about: "message.sent from RabbitMQ to a room of 1,000 and to 500 rooms of 2",
		needs: canAMQP, once: true, usual: 12 * time.Second, run: amqpScenario,
	},
	{
		name: "emitter", about: "new_message from @socket.io/redis-emitter, to a room of 1,000 and to 500 rooms of 2",
		needs: canRedis, once: true, usual: 12 * time.Second, run: emitterScenario,
	},
	{
		name: "nodes", about: "rooms of two across 1 to 8 nodes joined by Redis",
		needs: canNodes, usual: 14 * time.Second, without: coalescing, run: nodesScenario,
	},
	{
		name: "log", about: "1 to 8 nodes that read one log in RabbitMQ, beside a client that only reads it",
		needs: canLog, usual: 45 * time.Second, run: logScenario,
	},
	{
		name: "handover", about: "a new process takes over all connections, under deliveries",
		needs: canHandOver, once: true, usual: 30 * time.Second, run: handoverScenario,
	},
	{
		name: "recovery", about: "clients that ask for recovery beside clients that do not: connecting, coming back, events",
		needs: canHandOver, once: true, usual: 20 * time.Second, run: recoveryScenario,
	},
	{
		name: "million", about: "1,000,000 simulated sessions in one process: memory, pauses, heartbeat",
		needs: canSimulate, once: true, usual: 40 * time.Second, run: millionScenario,
	},
	{
		name: "fleet", about: "108,000 connections over 6 processes, events to all",
		needs: canPublish, long: true, once: true, usual: time.Minute, run: fleetScenario,
	},
	{
		name: "million-real", about: "1,008,000 connections over 56 processes with one log and one Redis, each in its user's room",
		needs: canHandOver, long: true, once: true, usual: 15 * time.Minute, run: millionRealScenario,
	},
	{
		name: "soak", about: "connect, chat, heartbeat and churn in turn for as long as -soak says",
		long: true, once: true, run: soakScenario,
	},
}
