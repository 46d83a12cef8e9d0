package simulation

// extraFaults is the largest number of faults of the third list in a run.
const extraFaults = 4

// extraKinds is the third list of faults: clocks, the services' connection, and
// hand-overs.
var extraKinds = []kind{
	{"a node's clock is set", func(r *run, f *fault) { r.setClock(f) }},
	{"the services' connection ends, confirms are lost", func(r *run, f *fault) {
		if l := r.service.link; l != nil {
			l.back.lost = true // events published now are stored, but their confirms are lost
			r.after(f.last/8, func() { l.lose(true) })
		}
	}},
	{"a node is handed over to a new process", func(r *run, f *fault) { r.handOver(f) }},
	{"a node is handed over to a new process", func(r *run, f *fault) { r.handOver(f) }},
}

// kindOf returns a kind by its index in the three lists together.
func kindOf(i int) *kind {
	for _, list := range [...][]kind{kinds, moreKinds, extraKinds} {
		if i < len(list) {
			return &list[i]
		}
		i -= len(list)
	}
	panic(i)
}
