// Package process starts servers as processes of their own and reads from the
// kernel and from the gateway itself what they use. Its Server belongs to one goroutine.
package process
