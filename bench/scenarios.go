package main

// scenarios are in the order of a run and of the report.
var scenarios = []*scenario{
	{name: "connect", about: "authenticated connections, WebSocket alone; then what they cost idle, and their heartbeat", run: connectScenario},
	{name: "polling", about: "long-polling first, then the upgrade to WebSocket", needs: canPoll, run: pollingScenario},
	{name: "fanout", about: "one event to a room of 10 to 19,000: single, in bursts, paced", needs: canPublish, run: fanoutScenario},
	{name: "storm", about: "1,000 members join one room and type in it", run: stormScenario},
	{name: "chat", about: "1,000 rooms of two, typing both ways", run: chatScenario},
	{name: "churn", about: "clients that connect and go", run: churnScenario},
	{name: "slow", about: "50 readers that stopped beside 50 that read", needs: canPublish, once: true, run: slowScenario},
	{name: "amqp", about: "message.sent from RabbitMQ to a room of 1,000 and to 500 rooms of 2", needs: canAMQP, once: true, run: amqpScenario},
	{name: "nodes", about: "rooms of two across 1 to 8 nodes joined by Redis", needs: canRedis, once: true, run: nodesScenario},
	{name: "fleet", about: "as many connections as the machine carries, over several processes", needs: canRedis, long: true, run: fleetScenario},
	{name: "soak", about: "everything in turn for as long as -soak says", long: true, run: soakScenario},
}
