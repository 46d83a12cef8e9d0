// Package handover is how one gateway process hands its connections over to the
// next one, over a Unix socket. Two state machines decide, Giver and Taker:
// they take events and return actions, and know neither sockets nor clocks.
// Their one promise is that at no instant two processes serve the same
// connections, and that a process that is alive serves them at the end,
// whichever side dies or stops, and when.
//
//	taker                         giver
//	hello (form, settings)   ->
//	                         <-   go | refuse | drain
//	(builds, listens)             (has the kernel keep new connections here)
//	ready                    ->
//	                              (freezes its event loops)
//	                         <-   parts, descriptors, end
//	received                 ->
//	                         <-   released
//	owned                    ->
//	(sessions in their rooms)
//	serving                  ->
//	                              (has the kernel give new connections to the taker)
//	(connections on their event loops)
//	done                     ->
//	                              (closes its half of them, goes on accepting)
//	                         <-   fresh (descriptors of new connections)
//
// The giver may go back (abort, then thaw) until it has written released, and
// after that if the taker ends without having written owned. The taker touches
// nothing before it has read released, and writes owned before it does. A giver
// that goes back says abort first: an end of the connection without it, behind
// received, is the death of a giver whose loops stand still, and the taker
// takes over.
package handover
