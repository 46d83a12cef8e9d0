// Package auth verifies the tokens clients present and mints tokens for
// development. It is the adapter behind rooms.Authenticator.
//
// The way of a token:
//
//	Authenticate ──> shape (length, three parts, alphabet)
//	             ──> header, algorithm, signature      golang-jwt; familiar.go
//	                                                   for headers seen before
//	             ──> nbf, exp, aud, iss, user id       claims.go
//	             ──> done(Identity, error)
//
// A verifier has exactly one kind of key, and the algorithms it accepts follow
// from that kind: a secret verifies HS256 and nothing else, a public key the
// one asymmetric algorithm of its type, a JWKS the asymmetric ones. No token
// can choose how it is verified.
//
// With a secret the answer is there before Authenticate returns. With a public
// key or a JWKS a pool of goroutines verifies (dear.go), because that costs too
// much for an event loop, and a key that is not known yet is fetched over HTTP.
//
// The error texts are those of the Node library jsonwebtoken 9, which front
// ends match on; testdata/jsonwebtoken.json is its verdict over a table of
// tokens. Where this package is stricter: algorithms other than the configured
// one, a secret that is a PEM public key, and unreadable claims ("invalid
// token", where Node shows the text of its JSON parser).
package auth
