// Package authz says who may be in which room. ROOM_POLICY chooses how:
//
//	open     everybody in every room
//	claims   the token names rooms and patterns                 claims.go
//	webhook  the application is asked over HTTP                 webhook.go
//	redis    the application keeps a set of users for a room    redis.go
//
// A user is always let into the notification room with the user's own id; with
// NOTIFICATION_ROOMS=own nobody else is.
//
// A Gate stands between the event loops and a policy, which may take its time:
// it answers at once what needs no time, and has the rest decided by a pool of
// goroutines (internal/fairpool) in which users take turns, so that one who asks
// for a thousand rooms does not hold up the others.
//
// When there is no answer the answer is no. Who is in a room stays there.
package authz
