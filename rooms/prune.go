package rooms

// A peak is the largest size of a map since it was made.
type peak int

const (
	pruneFrom  = 256 // entries; a smaller map is not worth the copy
	pruneShare = 8
)

// pruned is to be called when an entry of m has been deleted. It returns m, or
// a copy when m has shrunk to one part in pruneShare of its peak: the runtime
// never gives back what a map has grown to.
func pruned[K comparable, V any](m map[K]V, p *peak) map[K]V {
	*p = max(*p, peak(len(m)+1))
	if *p < pruneFrom || len(m) > int(*p)/pruneShare {
		return m
	}
	small := make(map[K]V, len(m))
	for key, value := range m {
		small[key] = value
	}
	*p = peak(len(m))
	return small
}
