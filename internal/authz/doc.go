// Package authz decides who may be in which room. ROOM_POLICY chooses the
// policy:
//
//	open     everybody in every room
//	claims   the token names rooms and patterns                 claims.go
//	webhook  the application is asked over HTTP                 webhook.go
//	redis    the application keeps a set of users for a room    redis.go
//
// A user may always join the notification room with the own user id; with
// NOTIFICATION_ROOMS=own nobody else may.
//
// A Gate is called by the event loops. It answers at once what needs no
// waiting, and leaves the rest to a pool of goroutines (internal/fairpool) in
// which users take turns, so that a user who asks for a thousand rooms does not
// delay others.
//
// Without an answer a join is refused, and members stay in their rooms.
package authz
