// Package fleet tests several gateway processes around a Redis and a RabbitMQ,
// with real clients. It has no code but tests.
package fleet
