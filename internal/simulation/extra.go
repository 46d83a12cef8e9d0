package simulation

// extraFaults is how many faults of the third list a run has at most.
const extraFaults = 4

// extraKinds are the faults of the third list: those of clocks, of services and
// of the dead letters.
var extraKinds = []kind{
	{"a node's clock is set", func(r *run, f *fault) { r.setClock(f) }},
	{"the services' connection ends, confirms are lost", func(r *run, f *fault) {
		if l := r.service.link; l != nil {
			l.back.lost = true // what is published now is written, and the service does not hear of it
			r.after(f.last/8, func() { l.lose(true) })
		}
	}},
	{"a node is handed over to a new process", func(r *run, f *fault) { r.handOver(f) }},
	{"a node is handed over to a new process", func(r *run, f *fault) { r.handOver(f) }},
}

// kindOf returns a kind by its number in all lists.
func kindOf(i int) *kind {
	for _, list := range [...][]kind{kinds, moreKinds, extraKinds} {
		if i < len(list) {
			return &list[i]
		}
		i -= len(list)
	}
	panic(i)
}
